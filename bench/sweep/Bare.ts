/**
 * The least that a sweep costs: pages of a plain index scan, and for each project the three statements of an archive,
 * five projects at a time, with the same driver. A request to its port carries the statements and runs it once.
 */
import { createServer } from "node:http"
import { text } from "node:stream/consumers"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as PgPool from "@effect/sql-pg/PgPool"
import { Task, templated } from "./Task.ts"

const decode = Schema.decodeEffect(Schema.fromJsonString(Task))

await Effect.gen(function* () {
  const pool = yield* PgPool.make({
    url: yield* Config.Redacted("DATABASE_URL"),
    maxConnections: 5,
    multiplex: true,
    multiplexConcurrency: 1
  })
  const query = (sql: string, params: ReadonlyArray<unknown>) =>
    pool.use((connection) => connection.query(sql, params, true))

  const sweep = (task: typeof Task.Type) =>
    Effect.gen(function* () {
      let archived = 0
      let after: ReadonlyArray<unknown> = ["-infinity", ""]
      for (;;) {
        const { rows } = yield* query(task.page, after)
        const ids = rows.map(({ project_id }) => String(project_id))
        yield* Effect.forEach(
          ids,
          (id) =>
            Effect.forEach(task.statements, ({ params, sql }) => query(sql, templated(params, id)), { discard: true }),
          { concurrency: 5, discard: true }
        )
        archived += ids.length
        const last = rows.at(-1)
        if (last === undefined || rows.length < 100) return archived
        after = [last["day"], last["project_id"]]
      }
    })

  const run = Effect.runForkWith(yield* Effect.context())
  const server = createServer((request, response) => {
    run(
      Effect.promise(() => text(request)).pipe(
        Effect.flatMap(decode),
        Effect.flatMap((task) => Effect.timed(sweep(task))),
        Effect.map(([took, archived]) => response.end(JSON.stringify({ tookMs: Duration.toMillis(took), archived }))),
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
}).pipe(Effect.scoped, Effect.runPromise)
