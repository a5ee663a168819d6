/**
 * The numbered .sql files of this package and what the database has of them. All that is pending runs in one transaction
 * under a lock: several instances may start at once, and a migration that fails leaves nothing behind.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import * as Schedule from "effect/Schedule"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Database, serverLimits } from "./Database.ts"
import { read, storeError } from "./postgres/Run.ts"
import { statementsOf } from "./SqlScript.ts"
import type { StoreError } from "./StoreError.ts"

export interface Migration {
  readonly id: number
  readonly name: string
  readonly statements: ReadonlyArray<string>
}

export class MigrationError extends Schema.TaggedError<MigrationError>()("MigrationError", {
  reason: Schema.Literals(["NoFiles", "NewerDatabase", "Failed"]),
  detail: Schema.String
}) {
  override get message() {
    return `migrations: ${this.detail}`
  }
}

export class Migrations extends Context.Service<
  Migrations,
  {
    /** Brings the database to what this build needs; the names of what it ran. */
    readonly migrate: Effect.Effect<ReadonlyArray<string>, MigrationError | StoreError>
    /** Names that this build needs and the database lacks. A newer build may have added more: that is not ours to judge. */
    readonly pending: Effect.Effect<ReadonlyArray<string>, StoreError>
  }
>()("valet/Migrations") {
  static readonly layer: Layer.Layer<Migrations, MigrationError, Database> = Layer.unwrap(
    Effect.map(
      Effect.suspend(() => packaged),
      (migrations) => Migrations.layerOf(migrations)
    )
  ).pipe(Layer.provide([NodeFileSystem.layer, NodePath.layer]))

  static readonly layerOf = (migrations: ReadonlyArray<Migration>): Layer.Layer<Migrations, never, Database> =>
    Layer.effect(Migrations, make(migrations))
}

/** A starting database is waited for: about 15 s in all. */
const untilReachable = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")]).pipe(
  Schedule.upTo({ times: 12 })
)

/** Long work is allowed here, but nobody's queries wait longer than this behind a table lock that is waited for. */
const sessionLimits = { statement_timeout: "0", lock_timeout: "10s", idle_in_transaction_session_timeout: "60s" }

const decodeApplied = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ id: Schema.Int, name: Schema.String })))

const make = (migrations: ReadonlyArray<Migration>) =>
  Effect.gen(function* () {
    const database = yield* Database
    const known = new Map(migrations.map(({ id, name }) => [id, name]))

    const run = Effect.fnUntraced(function* (connection: PgConnection.PgConnection) {
      yield* connection.query("SELECT pg_advisory_xact_lock(hashtextextended('valet migrations', 0))")
      yield* connection.query("CREATE SCHEMA IF NOT EXISTS valet")
      yield* connection.query(
        "CREATE TABLE IF NOT EXISTS valet.migrations " +
          "(id integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT statement_timestamp())"
      )
      const { rows } = yield* connection.query("SELECT id, name FROM valet.migrations ORDER BY id")
      const applied = yield* decodeApplied(rows)
      const foreign = applied.find(({ id, name }) => known.get(id) !== name)
      if (foreign !== undefined) {
        return yield* new MigrationError({
          reason: "NewerDatabase",
          detail: `this build does not know ${foreign.name}, which the database has: start the newer build`
        })
      }
      const done = new Set(applied.map(({ id }) => id))
      const pending = migrations.filter(({ id }) => !done.has(id))
      for (const { id, name, statements } of pending) {
        yield* Effect.forEach(statements, (statement) => connection.query(statement, [], false), { discard: true })
        yield* connection.query("INSERT INTO valet.migrations (id, name) VALUES ($1, $2)", [id, name])
      }
      return pending.map(({ name }) => name)
    })

    const migrate = Effect.scoped(
      Effect.gen(function* () {
        const connection = yield* PgConnection.make({
          ...database.direct,
          applicationName: "valet-migrate",
          startupParameters: sessionLimits
        })
        yield* connection.query("BEGIN")
        // Closing the session rolls back whatever is not committed.
        const names = yield* run(connection)
        yield* connection.query("COMMIT")
        yield* setRoleLimits(connection, database)
        return names
      })
    ).pipe(
      Effect.catchTag(["SqlError", "SchemaError"], (error) => Effect.fail(storeError("migrate", "write")(error))),
      Effect.retry({ schedule: untilReachable, while: (error) => error._tag === "StoreError" && error.retryable }),
      Effect.withSpan("Migrations.migrate")
    )

    const pending = database.reads`
      SELECT to_regclass('valet.migrations') IS NOT NULL AS there`.pipe(
      Effect.flatMap((rows) =>
        rows[0]?.["there"] === true
          ? Effect.flatMap(database.reads`SELECT id, name FROM valet.migrations`, decodeApplied)
          : Effect.succeed([])
      ),
      Effect.map((applied) => {
        const done = new Set(applied.map(({ id }) => id))
        return migrations.filter(({ id }) => !done.has(id)).map(({ name }) => name)
      }),
      read("pendingMigrations")
    )

    return Migrations.of({ migrate, pending })
  })

/** Behind a transaction pooler the limits can't be the session's own, so they become the role's in this database. */
const setRoleLimits = (connection: PgConnection.PgConnection, database: Database["Service"]) =>
  database.pooler
    ? Effect.forEach(
        Object.entries(serverLimits),
        ([name, value]) =>
          connection.query(
            `DO $$ BEGIN EXECUTE format('ALTER ROLE %I IN DATABASE %I SET ${name} = %L', current_user,
              current_database(), '${value}'); END $$`,
            [],
            false
          ),
        { discard: true }
      ).pipe(
        Effect.catch((error) =>
          Effect.logWarning("the role's statement and lock timeouts can't be set; set them by hand", error)
        )
      )
    : Effect.void

const fileName = /^(\d{4})_([a-z0-9_]+)\.sql$/

/** Sources lie deeper in the package than the bundle does: the folder is looked for upwards. */
const folder = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  let directory = path.dirname(yield* path.fromFileUrl(new URL(import.meta.url)))
  for (let up = 0; up < 5; up++) {
    const candidate = path.join(directory, "migrations")
    if (yield* fs.exists(path.join(candidate, "0001_plane.sql"))) return candidate
    directory = path.dirname(directory)
  }
  return yield* new MigrationError({ reason: "NoFiles", detail: "the package's migrations folder is missing" })
})

const packaged = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* folder
  const names = (yield* fs.readDirectory(directory)).toSorted()
  return yield* Effect.forEach(
    names.filter((name) => fileName.test(name)),
    Effect.fnUntraced(function* (name) {
      const script = yield* fs.readFileString(path.join(directory, name))
      return { id: Number(name.slice(0, 4)), name: name.slice(0, -4), statements: statementsOf(script) }
    })
  )
}).pipe(
  Effect.catchTag(["PlatformError", "BadArgument"], (error) =>
    Effect.fail(new MigrationError({ reason: "NoFiles", detail: error.message }))
  )
)
