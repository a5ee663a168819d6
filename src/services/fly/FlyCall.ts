/** One logical call of the Machines API over HTTP, made as `FlyPolicy` says, and every failure told apart (`FlyAnswer`). */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { HttpMethod } from "effect/http/HttpMethod"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as FlyAnswer from "./FlyAnswer.ts"
import { FlyError } from "./FlyError.ts"
import * as FlyPolicy from "./FlyPolicy.ts"
import * as FlyWire from "./FlyWire.ts"

export interface Call extends Omit<FlyPolicy.Policy, "identifier"> {
  readonly method: HttpMethod
  /** Below `/v1/apps/<app>`, encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** A machine that can't leave the host of its volume. */
  readonly bound?: boolean
  /** What Fly counts this request against: the app by default. */
  readonly identifier?: string
}

const DETAIL_CHARACTERS = 300

const retryAfterMs = (headers: Headers.Headers, now: number): number | null => {
  const value = Option.getOrUndefined(Headers.get(headers, "retry-after"))
  if (value === undefined) return null
  const seconds = Number(value)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - now
  return Number.isFinite(ms) ? Math.max(0, Math.ceil(ms)) : null
}

/** The system's code (`ECONNRESET`, …) somewhere in the chain of causes; never a message, which may name a URL. */
const codeOf = (cause: unknown, depth = 0): string => {
  if (typeof cause !== "object" || cause === null || depth > 4) return "connection failed"
  if ("code" in cause && typeof cause.code === "string") return cause.code
  return "cause" in cause ? codeOf(cause.cause, depth + 1) : "connection failed"
}

export const make = Effect.fnUntraced(function* (options: {
  readonly apiUrl: string
  readonly app: string
  readonly token: Redacted.Redacted
}) {
  const policed = yield* FlyPolicy.make
  const http = (yield* HttpClient.HttpClient).pipe(
    HttpClient.mapRequest((request) =>
      request.pipe(
        HttpClientRequest.prependUrl(
          `${options.apiUrl.replace(/\/+$/, "")}/v1/apps/${encodeURIComponent(options.app)}`
        ),
        HttpClientRequest.bearerToken(options.token),
        HttpClientRequest.acceptJson
      )
    )
  )
  const token = Redacted.value(options.token)
  /** Bounded, and without the token should an answer ever repeat it. */
  const shown = (text: string, requestId: string): string => {
    const clean = (token === "" ? text : text.replaceAll(token, "<token>"))
      .replace(/\s+/g, " ")
      .slice(0, DETAIL_CHARACTERS)
    return requestId === "" ? clean : `${clean} (fly-request-id ${requestId})`
  }

  const request = (call: Call) => {
    const bare = HttpClientRequest.make(call.method)(
      call.path,
      call.query === undefined ? {} : { urlParams: call.query }
    )
    return call.body === undefined ? bare : HttpClientRequest.bodyJsonUnsafe(bare, call.body)
  }

  const failed = (call: Call, reason: FlyAnswer.Reason) => new FlyError({ operation: call.operation, reason })

  const ofClient = (call: Call) => (error: HttpClientError.HttpClientError) =>
    failed(call, FlyAnswer.reasonOfTransport(codeOf(error.reason), call.effects))

  /** The body of a 2xx answer as text. */
  const answered = Effect.fnUntraced(function* (call: Call, response: HttpClientResponse.HttpClientResponse) {
    const requestId = Option.getOrElse(Headers.get(response.headers, "fly-request-id"), () => "")
    yield* Effect.logDebug("Fly answered").pipe(
      Effect.annotateLogs({ operation: call.operation, status: response.status, fly_request_id: requestId })
    )
    const body = yield* Effect.mapError(response.text, ofClient(call))
    if (response.status >= 200 && response.status < 300) return body
    const { text, code } = FlyWire.errorOf(body)
    const now = yield* Clock.currentTimeMillis
    const answer: FlyAnswer.Answer = {
      status: response.status,
      text,
      code,
      retryAfterMs: retryAfterMs(response.headers, now),
      effects: call.effects,
      bound: call.bound === true
    }
    return yield* failed(call, FlyAnswer.reasonOf(answer, shown(`${response.status} ${text}`, requestId)))
  })

  const text = (call: Call): Effect.Effect<string, FlyError> =>
    policed(
      { ...call, identifier: call.identifier ?? options.app },
      http.execute(request(call)).pipe(
        Effect.mapError(ofClient(call)),
        Effect.flatMap((response) => answered(call, response))
      )
    )

  /** An answer that can't be read: it happened, so a create must look for what it made. */
  const unreadable = (call: Call) => () =>
    failed(call, FlyAnswer.reasonOfSilence(call.effects, "an answer that can't be understood"))

  const decoded = <A, E>(call: Call, decode: (body: unknown) => Effect.Effect<A, E>): Effect.Effect<A, FlyError> =>
    Effect.flatMap(text(call), (body) =>
      Effect.try({ try: (): unknown => JSON.parse(body), catch: unreadable(call) }).pipe(
        Effect.flatMap((json) => Effect.mapError(decode(json), unreadable(call)))
      )
    )

  return { text, decoded }
})

export type FlyCall = Effect.Success<ReturnType<typeof make>>
