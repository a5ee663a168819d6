/**
 * A server that waits for its project calls itself once, as the control plane will: what a process does for the first time
 * is compiled then, and not while somebody waits (a seventh of a warm claim in `bench/`, `cold-start`).
 */
import * as Http from "node:http"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

export class RehearsalFailed extends Schema.TaggedError<RehearsalFailed>()("RehearsalFailed", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

/** All but its last field is right, so that all of it is read and nothing is done. */
const refused = JSON.stringify({
  project_id: "rehearsal",
  project_uid: "rehearsal",
  deploy_key: "rehearsal",
  generation: 1,
  idle_timeout_seconds: 0,
  router_app: "rehearsal",
  restore: { r2_key: "rehearsal", r2_checksum: "0".repeat(64), size: 1, download_url: null }
})

const limit = "5 seconds"

/** The status that was answered. */
export const rehearse = (port: number, secret: Redacted.Redacted): Effect.Effect<number, RehearsalFailed> =>
  Effect.callback<number, RehearsalFailed>((resume, signal) => {
    Http.request(
      {
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/internal/configure",
        headers: { authorization: `Bearer ${Redacted.value(secret)}` },
        agent: false,
        signal
      },
      (response) => {
        response.resume().once("end", () => resume(Effect.succeed(response.statusCode ?? 0)))
      }
    )
      .once("error", (error) => resume(Effect.fail(new RehearsalFailed({ detail: error.message }))))
      .end(refused)
  }).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail(new RehearsalFailed({ detail: `no answer within ${limit}` }))
    })
  )
