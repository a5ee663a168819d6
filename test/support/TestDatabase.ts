/** A fresh database of the run's PostgreSQL, and what tests do to it from outside. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { afterAll, inject } from "vitest"
import { layerPostgres } from "../../src/services/db/Postgres.ts"
import { StatementObserver } from "../../src/services/db/StatementObserver.ts"

const layerOf = (path: "/empty" | "/migrated"): Layer.Layer<TestDatabase> =>
  Layer.effect(
    TestDatabase,
    Effect.gen(function* () {
      const http = yield* HttpClient.HttpClient
      const response = yield* http.execute(HttpClientRequest.post(inject("postgresBroker") + path))
      const text = yield* response.text
      if (response.status !== 201) return yield* Effect.die(new Error(text))
      const url = Redacted.make(text)
      const scope = yield* Effect.scope
      const session = yield* Effect.cached(Scope.provide(PgConnection.make({ url, applicationName: "test" }), scope))
      const query = (sql: string, params: ReadonlyArray<unknown> = []) =>
        Effect.flatMap(session, (connection) => Effect.map(connection.query(sql, params), ({ rows }) => rows))
      return TestDatabase.of({
        url,
        query,
        advance: (milliseconds) =>
          Effect.asVoid(query("UPDATE valet.clock_shift SET ms = ms + $1::bigint", [milliseconds])),
        terminate: (applicationName) =>
          Effect.map(
            query(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE $1",
              [applicationName]
            ),
            (rows) => rows.length
          )
      })
    })
  ).pipe(Layer.provide(FetchHttpClient.layer), Layer.orDie)

export class TestDatabase extends Context.Service<
  TestDatabase,
  {
    readonly url: Redacted.Redacted
    /** One statement on a session of its own, beside the stores. */
    query(sql: string, params?: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<PgConnection.Row>, SqlError>
    /** Moves the plane's clock forward, for all sessions at once. */
    advance(milliseconds: number): Effect.Effect<void, SqlError>
    /** Ends the sessions whose application name matches (`LIKE`). */
    terminate(applicationName: string): Effect.Effect<number, SqlError>
  }
>()("valet/test/TestDatabase") {
  /** Without tables. */
  static readonly layerEmpty = Layer.suspend(() => layerOf("/empty"))

  static readonly layer = Layer.suspend(() => layerOf("/migrated"))
}

/** The live stores of one more instance on the test's database. */
export const layerInstance = Layer.fresh(
  Layer.unwrap(Effect.map(TestDatabase, ({ url }) => Layer.orDie(layerPostgres({ url, directUrl: url }))))
)

/** One instance on a database of its own. */
export const layerStores = layerInstance.pipe(Layer.provideMerge(TestDatabase.layer))

const tables = [
  "projects",
  "machines",
  "archives",
  "events",
  "accepted_creates",
  "idempotency_keys",
  "strays",
  "identity",
  "fly_budget"
]

/** Empty tables, and the server's own time. */
export const reset = Effect.gen(function* () {
  const { query } = yield* TestDatabase
  const deletes = tables.map((table) => `DELETE FROM valet.${table};`).join(" ")
  yield* query(`DO $$ BEGIN ${deletes} UPDATE valet.clock_shift SET ms = 0; END $$`)
})

/** Builds the layer once for the test file; what it returns empties the tables each time it is provided. */
export const sharedByFile = <A, E>(layer: Layer.Layer<A | TestDatabase, E>): Layer.Layer<A | TestDatabase> => {
  const runtime = ManagedRuntime.make(layer)
  afterAll(() => runtime.dispose())
  return Layer.effectContext(
    Effect.gen(function* () {
      const context = yield* runtime.contextEffect
      yield* Effect.provide(reset, context)
      return context
    })
  ).pipe(Layer.orDie)
}

/** A session that holds locks until it is released. */
export const blocker = (statement: string) =>
  Effect.gen(function* () {
    const { url } = yield* TestDatabase
    const session = yield* PgConnection.make({ url, applicationName: "blocker" })
    yield* session.query("BEGIN")
    yield* session.query(statement)
    return { release: session.query("COMMIT") }
  })

/** Sessions of the stores that wait for a lock. */
export const waitingStores = `SELECT FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'valet' AND wait_event_type = 'Lock'`

/** Collects the statements that the stores built from `layer` send. */
export const observing = <A, E, R>(layer: Layer.Layer<A, E, R>) => {
  const statements: Array<{ readonly sql: string; readonly params: ReadonlyArray<unknown> }> = []
  return {
    statements,
    layer: Layer.provide(
      layer,
      Layer.succeed(StatementObserver, (sql, params) => void statements.push({ sql, params }))
    )
  }
}
