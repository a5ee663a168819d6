/**
 * A PostgreSQL of the run's own with a plane's tables in it, and the crowd that the figures are measured against: that
 * many active projects, each with the machine that serves it.
 */
import { readFileSync } from "node:fs"
import { setPriority } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { startPostgres } from "../../src/local/postgres/EmbeddedPostgres.ts"
import { postmasterOf } from "../../src/local/postgres/Postmaster.ts"
import { Database } from "../../src/services/db/Database.ts"
import { Migrations } from "../../src/services/db/Migrations.ts"
import { BenchFailed, failed } from "../harness/Bench.ts"
import { pinned } from "../harness/Machine.ts"
import { run } from "../harness/Pinned.ts"

export interface PlaneDatabase {
  readonly url: string
  /** One statement on a session without time limits. */
  readonly query: (
    sql: string,
    params?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<PgConnection.Row>, BenchFailed>
}

/** What a database of this size is given anywhere, and the default is not: memory for it, and checkpoints apart. */
const settings = ["shared_buffers = '1536MB'", "max_wal_size = '8GB'", "checkpoint_timeout = '30min'"]

/** The weakest: it would run on a machine of its own, where it kept no request from being sent and no answer from being timed. */
const priority = 19

/** The server and all its processes, those to come included. */
const pin = Effect.fnUntraced(function* (postmaster: number) {
  const children = yield* Effect.try({
    try: () => readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, "utf8").trim().split(" "),
    catch: failed("PostgreSQL")
  })
  const pids = [String(postmaster), ...children]
  yield* Effect.try({
    try: () => pids.forEach((pid) => setPriority(Number(pid), priority)),
    catch: failed("PostgreSQL's priority")
  })
  const [taskset] = yield* pinned("load", [])
  if (taskset === undefined) return
  yield* Effect.forEach(pids, (pid) => run({ name: "taskset", core: "load", command: [taskset, "-cp", "1", pid] }))
})

/**
 * On the load's core. Nothing is forced to disk: what is measured is the plane, and not how long this machine's disk
 * takes.
 */
export const planeDatabase = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "valet-bench-postgres-" })
  const query =
    (session: PgConnection.PgConnection): PlaneDatabase["query"] =>
    (sql, params = []) =>
      session.query(sql, params).pipe(
        Effect.map(({ rows }) => rows),
        Effect.mapError(failed("the bench's database"))
      )
  // Settings of this kind count from the next start.
  yield* Effect.scoped(
    Effect.gen(function* () {
      const { url } = yield* startPostgres({ folder, durable: false })
      const session = yield* PgConnection.make({ url })
      yield* Effect.forEach(settings, (setting) => session.query(`ALTER SYSTEM SET ${setting}`))
    })
  )
  const { url } = yield* startPostgres({ folder, durable: false })
  const postmaster = yield* postmasterOf(join(folder, "data"))
  if (postmaster !== null) yield* pin(postmaster.pid)
  yield* Effect.flatMap(Migrations, ({ migrate }) => migrate).pipe(
    Effect.provide(Layer.provide(Migrations.layer, Database.layerUrls({ url, directUrl: url })))
  )
  const database: PlaneDatabase = {
    url: Redacted.value(url),
    query: query(yield* PgConnection.make({ url, applicationName: "bench" }))
  }
  return database
}).pipe(
  Effect.provide([NodeServices.layer, SecureRandom.layerWebCrypto]),
  Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("the bench's database")(error)))
)

/** The id of the n-th project of the crowd, counted from 1. */
export const crowdId = (n: number): string => `crowd-${n}`
export const crowdMachineId = (n: number): string => n.toString(16).padStart(14, "d")

/**
 * Fills the empty tables. `due` of the projects have been idle for ten days, all others for an hour; they lie scattered
 * over the table, as they would after some weeks.
 */
export const fillCrowd = Effect.fn("fillCrowd")(function* (
  { query }: PlaneDatabase,
  { due, projects }: { readonly projects: number; readonly due: number }
) {
  // The change of a row is told to listeners, of which there are none yet; the crowd's own changes need not be queued.
  yield* query("SET session_replication_role = replica")
  yield* query("SET maintenance_work_mem = '256MB'")
  // An index that is built afterwards costs a fifth of one that grows row by row.
  const indexes = yield* query(
    `SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'valet' AND tablename IN ('projects', 'machines')
         AND indexname NOT IN (SELECT conname FROM pg_constraint)`
  )
  yield* Effect.forEach(indexes, ({ indexname }) => query(`DROP INDEX valet.${String(indexname)}`))
  yield* query(
    `INSERT INTO valet.projects (project_id, uid, state, operation, generation, machine, region, dirty,
         deploy_key_sealed, deploy_key_id, created_at, last_active_at)
       SELECT 'crowd-' || n, 'uid-crowd-' || n, 'active', 'none', 2, 'vltcrowd' || n, 'sjc', true,
         repeat('s', 96), 'key', valet.now() - interval '30 days' + n * interval '1 second',
         valet.now() - CASE WHEN n % $2::bigint = 0 THEN interval '10 days' ELSE interval '1 hour' END
           + n * interval '1 millisecond'
       FROM generate_series(1, $1::bigint) AS n`,
    [projects, Math.max(1, Math.floor(projects / due))]
  )
  yield* query(
    `INSERT INTO valet.machines (name, project, generation, region, image, volume_size_gb, machine_id, volume_id,
         private_ip, key_id, status, served, created_at, updated_at)
       SELECT 'vltcrowd' || n, 'crowd-' || n, 2, 'sjc', 'registry.example/project:1', 1, lpad(to_hex(n), 14, 'd'),
         'vol_' || lpad(to_hex(n), 16, '0'), 'fdaa:0:1::' || to_hex(n % 65536), 'key', 'assigned', true,
         valet.now(), valet.now()
       FROM generate_series(1, $1::bigint) AS n`,
    [projects]
  )
  yield* Effect.forEach(indexes, ({ indexdef }) => query(String(indexdef)))
  yield* query("SET session_replication_role = origin")
  yield* query("VACUUM (ANALYZE) valet.projects, valet.machines")
  yield* query("CHECKPOINT")
})
