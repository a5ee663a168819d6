/**
 * The way to PostgreSQL: a pool for reads, which share its connections in pipelines; one for writes, each alone on its
 * connection, so that one that waits for a lock holds up nobody else; and the settings of direct sessions (locks,
 * LISTEN, migrations).
 *
 * Every wait is bounded, and the server gives up before the client does, so that a statement that failed here by its
 * server's timeout is known not to have happened. A statement that the server never answered has an unknown outcome, and
 * its connection is not used again: behind a half-open one nothing would be answered until TCP gives up.
 *
 * TLS follows the URL: `sslmode=require` verifies the server's certificate. Without `sslmode` the connection is plain.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgPool from "@effect/sql-pg/PgPool"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { StatementObserver } from "./StatementObserver.ts"

/** Milliseconds. Each is shorter than the operation lease (10 s), so that a holder learns in time what became of it. */
export const databaseLimits = {
  lockWait: 2_000,
  statement: 4_000,
  idleInTransaction: 5_000,
  /** From asking for a connection to the answer. */
  client: 7_000,
  connect: 3_000
} as const

/** Of one instance, beside its two direct sessions. */
const pools = {
  /** A read behind 15 others still answers within a few milliseconds; deeper pipelines only cost latency. */
  reads: { maxConnections: 4, multiplexConcurrency: 16 },
  writes: { maxConnections: 8, multiplexConcurrency: 1 }
} as const

export interface DatabaseUrls {
  readonly url: Redacted.Redacted
  readonly directUrl: Redacted.Redacted
}

export class Database extends Context.Service<
  Database,
  {
    /** For statements with effects, and transactions. */
    readonly sql: SqlClient.SqlClient
    /** For statements without effects. */
    readonly reads: SqlClient.SqlClient
    /** For sessions that nobody shares. A pooler in between would give them to others. */
    readonly direct: PgConnection.Config
    /** The two URLs differ: what stands between is taken for a transaction pooler. */
    readonly pooler: boolean
  }
>()("valet/Database") {
  static readonly layerUrls = (urls: DatabaseUrls): Layer.Layer<Database, SqlError> =>
    Layer.effect(Database, make(urls)).pipe(Layer.provide(Reactivity.layer))

  static readonly layer: Layer.Layer<Database, SqlError, PlaneConfig> = Layer.unwrap(
    Effect.map(PlaneConfig, (config) => Database.layerUrls(config.database))
  )
}

export const serverLimits = {
  lock_timeout: String(databaseLimits.lockWait),
  statement_timeout: String(databaseLimits.statement),
  idle_in_transaction_session_timeout: String(databaseLimits.idleInTransaction)
}

const session = {
  connectTimeout: Duration.millis(databaseLimits.connect),
  keepAlive: Duration.seconds(10)
}

const make = (urls: DatabaseUrls) =>
  Effect.gen(function* () {
    const observe = yield* StatementObserver
    // A transaction pooler neither keeps named statements nor accepts settings at the start; there the limits are the
    // role's own (`ALTER ROLE … SET statement_timeout`), which `migrate` sets.
    const pooler = Redacted.value(urls.url) !== Redacted.value(urls.directUrl)
    const client = Effect.fnUntraced(function* (size: (typeof pools)[keyof typeof pools]) {
      const pool = yield* PgPool.make({
        url: urls.url,
        ...session,
        ...size,
        // A multiplexed connection lets go of a statement that is given up; others would wait for its cancellation.
        multiplex: true,
        applicationName: "valet",
        prepare: !pooler,
        ...(pooler ? {} : { startupParameters: serverLimits })
      })
      return yield* SqlClient.make({
        acquirer: Effect.map(bounded(pool.get), (pg) => connection(pg, observe)),
        borrower: (use) => borrow(pool, (pg) => use(connection(pg, observe))),
        transactionAcquirer: Effect.map(bounded(pool.reserve), (pg) => connection(pg, observe)),
        prepareTransactionControls: true,
        commit: (transaction) => Effect.flatMap(transaction.executeRaw("COMMIT", []), refuseRolledBack),
        releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
        compiler: PgClient.makeCompiler(),
        driver: "pg",
        spanAttributes: [["db.system.name", "postgresql"]]
      })
    })
    return Database.of({
      sql: yield* client(pools.writes),
      reads: yield* client(pools.reads),
      pooler,
      direct: { url: urls.directUrl, ...session, startupParameters: serverLimits }
    })
  })

const unavailable = (message: string) =>
  new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "connect" }) })
const unanswered = (message: string) =>
  new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "query" }) })

const bounded = (acquire: Effect.Effect<PgConnection.PgConnection, SqlError, Scope.Scope>) =>
  Effect.timeoutOrElse(acquire, {
    duration: databaseLimits.client,
    orElse: () => Effect.fail(unavailable("no connection became free in time"))
  })

/** One timer for the wait and the statement: whether the statement had begun tells which of the two was too slow. */
const borrow = <A, E, R>(pool: PgPool.PgPool, use: (pg: PgConnection.PgConnection) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    let lent: PgConnection.PgConnection | undefined
    return pool
      .use((pg) => {
        lent = pg
        return use(pg)
      })
      .pipe(
        Effect.timeoutOrElse({
          duration: databaseLimits.client,
          orElse: () =>
            lent === undefined
              ? Effect.fail(unavailable("no connection became free in time"))
              : Effect.andThen(pool.invalidate(lent), Effect.fail(unanswered("no answer in time")))
        })
      )
  })

type Observe = (sql: string, params: ReadonlyArray<unknown>) => void

const connection = (pg: PgConnection.PgConnection, observe: Observe): Connection => {
  const query = (sql: string, params: ReadonlyArray<unknown>, prepare = true) => {
    observe(sql, params)
    return pg.query(sql, params, prepare)
  }
  const values = (sql: string, params: ReadonlyArray<unknown>, prepare: boolean) => {
    observe(sql, params)
    return pg.queryValues(sql, params, prepare)
  }
  return {
    execute: (sql, params) => Effect.map(query(sql, params), (result) => result.rows),
    executeRaw: (sql, params) => query(sql, params),
    executeUnprepared: (sql, params) => Effect.map(query(sql, params, false), (result) => result.rows),
    executeValues: (sql, params) => values(sql, params, true),
    executeValuesUnprepared: (sql, params) => values(sql, params, false),
    executeStream: (sql, params) => pg.stream(sql, params)
  }
}

/** PostgreSQL answers `ROLLBACK` to the COMMIT of a transaction in which a statement failed. */
const refuseRolledBack = (result: unknown) =>
  typeof result === "object" && result !== null && "command" in result && result.command === "ROLLBACK"
    ? Effect.fail(
        new SqlError({
          reason: new UnknownError({
            cause: new Error("rolled back"),
            message: "COMMIT rolled back an aborted transaction",
            operation: "commit"
          })
        })
      )
    : Effect.void
