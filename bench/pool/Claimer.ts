/** One instance that claims: a request to its port names projects, and its answer the machines that they got. */
import { createServer } from "node:http"
import { text } from "node:stream/consumers"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { ProjectId } from "../../src/domain/ProjectId.ts"
import { layerPostgres } from "../../src/services/db/Postgres.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { claimOf } from "./Claim.ts"

/** As many as an instance has connections for writes. */
const concurrency = 8

const decode = Schema.decodeEffect(Schema.fromJsonString(Schema.Array(ProjectId)))

const stores = Layer.unwrap(
  Effect.map(Config.Redacted("DATABASE_URL"), (url) => layerPostgres({ url, directUrl: url }))
)

Effect.gen(function* () {
  const projects = yield* Projects
  const claims = (ids: ReadonlyArray<ProjectId>) =>
    Effect.forEach(
      ids,
      (projectId) =>
        Effect.map(projects.beginWake(claimOf(projectId)), (begun) =>
          begun._tag === "Begun" ? (begun.machine?.name ?? "") : ""
        ),
      { concurrency }
    )
  const run = Effect.runForkWith(yield* Effect.context())
  const server = createServer((request, response) => {
    run(
      Effect.promise(() => text(request)).pipe(
        Effect.flatMap(decode),
        Effect.flatMap(claims),
        Effect.map((names) => response.end(JSON.stringify(names))),
        Effect.tapCause((cause) => Console.error(cause)),
        Effect.onError(() => Effect.sync(() => response.destroy()))
      )
    )
  })
  const port = yield* Effect.callback<number>((resume) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
  yield* Console.log(JSON.stringify({ port }))
  return yield* Effect.never
}).pipe(Effect.provide(stores), NodeRuntime.runMain)
