/**
 * Documents through the edge, over a WebSocket or HTTP, with what an ordinary client does not tell apart: refused (it did
 * not happen), broken (it may have), and never answered.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { WebSocket } from "ws"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"
import type { Answer } from "../e2e/Platform.ts"
import { ask, socketOf } from "../e2e/Platform.ts"
import type { Value } from "./Witness.ts"

export interface Refusal {
  readonly status: number
  /** Of the problem's body, or the edge's code. */
  readonly code: string
  /** It says when to come back, or it is the edge's own answer. */
  readonly meant: boolean
}

export type Outcome =
  | { readonly _tag: "Done"; readonly value: unknown }
  | { readonly _tag: "Refused"; readonly refusal: Refusal }
  /** The connection ended, or an answer came that does not say whether it happened. */
  | { readonly _tag: "Broken"; readonly refusal?: Refusal }
  | { readonly _tag: "Hung" }

export interface Documents {
  put(value: Value): Effect.Effect<Outcome>
  get(key: string): Effect.Effect<Outcome>
}

/** Longer than all that may hold a request: the wake (25 s), the replay, a stop of a process. */
export const answerWithin = "60 seconds"

const Problem = Schema.fromJsonString(Schema.Struct({ code: Schema.String }))
const codeOf = Schema.decodeUnknownExit(Problem)

type Received = Pick<Answer, "status" | "headers" | "body">

export const refusalOf = ({ body, headers, status }: Received): Refusal => {
  const edge = headers["x-edge-error"]
  const problem = codeOf(body)
  return {
    status,
    code: typeof edge === "string" ? edge : Exit.isSuccess(problem) ? problem.value.code : "",
    meant: edge !== undefined || headers["retry-after"] !== undefined
  }
}

const hung: Outcome = { _tag: "Hung" }
const broken: Outcome = { _tag: "Broken" }

/** `timeout` is the answer's; a connection that ends is another thing. */
export const asked = (answer: ReturnType<typeof ask>) =>
  answer.pipe(
    Effect.map((received) => ({ _tag: "Received" as const, received })),
    Effect.catch((error) => Effect.succeed("_tag" in error && error._tag === "TimeoutError" ? hung : broken))
  )

export const overHttp = (dev: DevRecord, project: string): Documents => {
  const path = (key: string) => `/projects/${project}/documents/${encodeURIComponent(key)}`
  const outcome = (answer: ReturnType<typeof ask>, read: boolean) =>
    Effect.map(asked(answer), (result): Outcome => {
      if (result._tag !== "Received") return result
      const { received } = result
      const { status } = received
      if (status === 200 || status === 201) return { _tag: "Done", value: read ? parsed(received.body) : null }
      const refusal = refusalOf(received)
      if (read && status === 404 && refusal.code === "not_found") return { _tag: "Done", value: null }
      // The edge's own codes say that a target was reached or not; only the plane's and the server's refusals are sure.
      const sure = status !== 502 && refusal.code !== "" && received.headers["x-edge-error"] === undefined
      return sure ? { _tag: "Refused", refusal } : { _tag: "Broken", refusal }
    })
  return {
    put: (value) =>
      outcome(
        ask(dev.edge, {
          method: "PUT",
          path: path(value.key),
          headers: { "content-type": "application/json" },
          body: JSON.stringify(value)
        }),
        false
      ),
    get: (key) => outcome(ask(dev.edge, { path: path(key) }), true)
  }
}

const parsed = (text: string): unknown => {
  const exit = Schema.decodeExit(Schema.fromJsonString(Schema.Unknown))(text)
  return Exit.isSuccess(exit) ? exit.value : text
}

const Frame = Schema.fromJsonString(
  Schema.Struct({
    id: Schema.Int,
    ok: Schema.Boolean,
    value: Schema.optionalKey(Schema.Unknown),
    version: Schema.optionalKey(Schema.Int),
    error: Schema.optionalKey(Schema.Struct({ code: Schema.String }))
  })
)
const decodeFrame = Schema.decodeUnknownExit(Frame)

/** Open until the scope closes; fails with how the handshake ended otherwise. */
export const overSocket = (dev: DevRecord, project: string) =>
  Effect.gen(function* () {
    const pending = new Map<number, Deferred.Deferred<Outcome>>()
    const opened = yield* Deferred.make<void, Outcome>()
    let next = 0
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => new WebSocket(socketOf(dev, project))),
      (open) => Effect.sync(() => open.terminate())
    )
    const end = () => {
      Deferred.doneUnsafe(opened, Effect.fail(broken))
      for (const waiting of pending.values()) Deferred.doneUnsafe(waiting, Effect.succeed(broken))
      pending.clear()
    }
    socket.on("open", () => Deferred.doneUnsafe(opened, Effect.void))
    socket.on("close", end)
    socket.on("error", end)
    socket.on("unexpected-response", (request, response) => {
      const pieces: Array<Buffer> = []
      const settle = () => {
        const body = Buffer.concat(pieces).toString()
        const refusal = refusalOf({ status: response.statusCode ?? 0, headers: response.headers, body })
        Deferred.doneUnsafe(opened, Effect.fail({ _tag: "Refused", refusal }))
        request.destroy()
      }
      response.on("data", (piece: Buffer) => pieces.push(piece))
      response.on("end", settle)
      response.on("error", end)
    })
    socket.on("message", (data: Buffer) => {
      const frame = decodeFrame(data.toString())
      if (!Exit.isSuccess(frame)) return
      const { error, id, value, version } = frame.value
      const waiting = pending.get(id)
      pending.delete(id)
      if (waiting === undefined) return
      const outcome: Outcome =
        error === undefined
          ? { _tag: "Done", value: version === 0 ? null : value }
          : { _tag: "Refused", refusal: { status: 0, code: error.code, meant: error.code === "sealed" } }
      Deferred.doneUnsafe(waiting, Effect.succeed(outcome))
    })
    yield* Deferred.await(opened).pipe(
      Effect.timeoutOrElse({ duration: answerWithin, orElse: () => Effect.fail(hung) })
    )
    const request = (body: Readonly<Record<string, unknown>>): Effect.Effect<Outcome> =>
      Effect.suspend(() => {
        if (socket.readyState !== WebSocket.OPEN) return Effect.succeed(broken)
        const id = ++next
        const waiting = Deferred.makeUnsafe<Outcome>()
        pending.set(id, waiting)
        socket.send(JSON.stringify({ id, ...body }))
        return Deferred.await(waiting)
      }).pipe(Effect.timeoutOrElse({ duration: answerWithin, orElse: () => Effect.succeed(hung) }))
    const documents: Documents = {
      put: (value) => request({ op: "put", key: value.key, value }),
      get: (key) => request({ op: "get", key })
    }
    return documents
  })
