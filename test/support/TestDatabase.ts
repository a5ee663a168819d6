/** A fresh database of the run's PostgreSQL, migrated, and what tests do to it from outside. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { inject } from "vitest"
import { Database } from "../../src/services/db/Database.ts"
import { Migrations } from "../../src/services/db/Migrations.ts"
import { layerPostgres } from "../../src/services/db/Postgres.ts"
import { StatementObserver } from "../../src/services/db/StatementObserver.ts"

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
  /** Empty. */
  static readonly layerEmpty = Layer.effect(
    TestDatabase,
    Effect.gen(function* () {
      const http = yield* HttpClient.HttpClient
      const response = yield* http.execute(HttpClientRequest.post(inject("postgresBroker")))
      const text = yield* response.text
      if (response.status !== 201) return yield* Effect.die(new Error(text))
      const url = Redacted.make(text)
      const query = (sql: string, params: ReadonlyArray<unknown> = []) =>
        Effect.scoped(
          Effect.flatMap(PgConnection.make({ url, applicationName: "test" }), (connection) =>
            Effect.map(connection.query(sql, params), ({ rows }) => rows)
          )
        )
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

  static readonly layer = Layer.effectDiscard(Effect.flatMap(Migrations, ({ migrate }) => migrate)).pipe(
    Layer.provide(Migrations.layer),
    Layer.provide(Layer.unwrap(Effect.map(TestDatabase, ({ url }) => Database.layerUrls({ url, directUrl: url })))),
    Layer.provideMerge(TestDatabase.layerEmpty),
    Layer.orDie
  )
}

/** The live stores of one more instance on the test's database. */
export const layerInstance = Layer.fresh(
  Layer.unwrap(Effect.map(TestDatabase, ({ url }) => Layer.orDie(layerPostgres({ url, directUrl: url }))))
)

/** One instance on a database of its own. */
export const layerStores = layerInstance.pipe(Layer.provideMerge(TestDatabase.layer))

/** Collects the statements that the stores built from `layer` send. */
export const observing = <A, E, R>(layer: Layer.Layer<A, E, R>) => {
  const statements: Array<string> = []
  return {
    statements,
    layer: Layer.provide(layer, Layer.succeed(StatementObserver, (sql: string) => void statements.push(sql)))
  }
}
