/** The control plane's API as the commands call it, and its failures in words that say what to do. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Client from "../client/Client.ts"

export interface Connection {
  readonly url: string
  readonly token: Option.Option<Redacted.Redacted>
}

export class ApiFailure extends Schema.TaggedError<ApiFailure>()("ApiFailure", {
  /** The problem's, or `unreachable`. */
  code: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

const advice: Readonly<Record<string, string>> = {
  unauthorized: "the control plane refused the token: set --token or CONTROL_PLANE_SECRET",
  project_not_found: "there is no such project"
}

const fromProblem = (error: { readonly code: string }): ApiFailure => {
  const detail = Predicate.hasProperty(error, "detail") && typeof error.detail === "string" ? error.detail : ""
  const wait =
    Predicate.hasProperty(error, "retry_after_seconds") && typeof error.retry_after_seconds === "number"
      ? `; try again in ${error.retry_after_seconds} s`
      : ""
  const said = advice[error.code] ?? [error.code.replaceAll("_", " "), detail].filter((text) => text !== "").join(": ")
  return new ApiFailure({ code: error.code, detail: `${said}${wait}` })
}

const failure =
  (url: string) =>
  (error: unknown): ApiFailure => {
    if (Predicate.hasProperty(error, "code") && typeof error.code === "string")
      return fromProblem({ ...error, code: error.code })
    if (Predicate.isTagged(error, "HttpClientError") && Predicate.hasProperty(error, "reason")) {
      if (Predicate.isTagged(error.reason, "TransportError")) {
        return new ApiFailure({
          code: "unreachable",
          detail: `nothing answers at ${url}: is the control plane running? (--url or VALET_URL)`
        })
      }
    }
    return new ApiFailure({ code: "unexpected", detail: `${url} does not answer as a control plane does` })
  }

type ApiClient = Effect.Success<ReturnType<typeof Client.make>>

/** One call, with a client of its own. */
export const call = <A, E>(
  { url, token }: Connection,
  use: (client: ApiClient) => Effect.Effect<A, E>
): Effect.Effect<A, ApiFailure> =>
  Effect.gen(function* () {
    const options = Option.match(token, { onNone: () => ({}), onSome: (token) => ({ token }) })
    const client = yield* Client.make({ baseUrl: url.replace(/\/+$/, ""), ...options })
    return yield* use(client)
  }).pipe(Effect.mapError(failure(url)), Effect.provide(NodeHttpClient.layerUndici))
