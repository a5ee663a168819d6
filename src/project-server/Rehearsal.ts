/**
 * What is asked of a server in a rehearsal: to become a project's, and for what its first clients want. What a process does
 * for the first time is compiled then, and not while somebody waits.
 */
import * as Http from "node:http"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { ConfigureRequest } from "../contract/MachineProtocol.ts"

export class RehearsalFailed extends Schema.TaggedError<RehearsalFailed>()("RehearsalFailed", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

const project: ConfigureRequest = {
  project_id: "rehearsal",
  project_uid: "rehearsal",
  deploy_key: "rehearsal",
  generation: 1,
  idle_timeout_seconds: 0,
  router_app: "rehearsal"
}

const limit = "5 seconds"

const ask = (port: number, method: string, path: string, headers: Http.OutgoingHttpHeaders, body: string) =>
  Effect.callback<number, RehearsalFailed>((resume, signal) => {
    Http.request({ host: "127.0.0.1", port, method, path, headers, agent: false, signal }, (response) => {
      response.resume().once("end", () => resume(Effect.succeed(response.statusCode ?? 0)))
    })
      .once("error", (error) => resume(Effect.fail(new RehearsalFailed({ detail: error.message }))))
      .end(body)
  }).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail(new RehearsalFailed({ detail: `no answer within ${limit}` }))
    }),
    Effect.filterOrFail(
      (status) => status === 200,
      (status) => new RehearsalFailed({ detail: `${path} was answered with ${status}` })
    )
  )

/** Of a server on this computer that has no project, and has this one from then on. */
export const rehearse = (port: number, secret: Redacted.Redacted): Effect.Effect<void, RehearsalFailed> =>
  Effect.gen(function* () {
    const bearer = { authorization: `Bearer ${Redacted.value(secret)}` }
    yield* ask(port, "POST", "/internal/configure", bearer, JSON.stringify(project))
    for (const path of ["/health", "/", "/documents"]) yield* ask(port, "GET", path, {}, "")
  })
