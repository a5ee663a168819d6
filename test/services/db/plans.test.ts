/** The plans that PostgreSQL chooses for hot statements on large tables. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Archives } from "../../../src/services/db/Archives.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "../../contract/stores/Given.ts"
import { day } from "../../contract/stores/StoreHarness.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { layerInstance, observing, sharedByFile, TestDatabase } from "../../support/TestDatabase.ts"

const { layer, statements } = observing(layerInstance)
const stores = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layer), Layer.provideMerge(TestDatabase.layer)))

/** 100,000 projects: a tenth awake, a few of them running something, pinned or with a threshold of their own. */
const crowd = Effect.gen(function* () {
  const { query } = yield* TestDatabase
  yield* query(`
    INSERT INTO valet.projects (project_id, uid, state, operation, operation_id, operation_began_at, generation,
      lease_until, machine, region, deploy_key_sealed, deploy_key_id, dormancy_threshold_seconds, pinned,
      created_at, last_active_at)
    SELECT 'crowd-' || n, 'crowd-uid-' || n, CASE WHEN n % 10 = 0 THEN 'active' ELSE 'dormant' END,
      CASE WHEN n % 2000 = 0 THEN 'archiving' ELSE 'none' END, CASE WHEN n % 2000 = 0 THEN 'o' END,
      CASE WHEN n % 2000 = 0 THEN now() END, 1, CASE WHEN n % 2000 = 0 THEN now() + interval '1 hour' END,
      CASE WHEN n % 10 = 0 THEN 'crowd' || n END, 'ams', 's', 'k', CASE WHEN n % 500 = 0 THEN 86400 END, n % 300 = 0,
      now() - n * interval '1 second', now() - n * interval '1 second'
    FROM generate_series(1, 100000) AS n`)
  yield* query(`
    INSERT INTO valet.machines (name, project, generation, region, image, volume_size_gb, machine_id, volume_id, key_id,
      status, served, created_at, updated_at)
    SELECT 'crowd' || n, 'crowd-' || n, 1, 'ams', 'i', 1, 'm' || n, 'v' || n, 'k',
      CASE WHEN n % 400 = 0 THEN 'assigned' WHEN n % 400 = 1 THEN 'discarded' ELSE 'gone' END, true, now(), now()
    FROM generate_series(1, 100000) AS n`)
  yield* query(`
    INSERT INTO valet.archives (r2_key, project_id, project_uid, generation, r2_checksum, size, url_expires_at, status,
      created_at)
    SELECT 'key' || n, 'crowd-' || n, 'crowd-uid-' || n, 1, 'aa', 1, now(),
      CASE WHEN n % 10 = 0 THEN 'discarded' ELSE 'current' END, now()
    FROM generate_series(1, 100000) AS n`)
  yield* query(`
    INSERT INTO valet.events (project_id, at, kind, generation)
    SELECT 'crowd-' || n % 1000, now(), 'woken', 1 FROM generate_series(1, 100000) AS n`)
  for (const table of ["projects", "machines", "archives", "events"]) yield* query(`ANALYZE valet.${table}`)
})

/** One whole life, and what loops and pages read. */
const everythingHot = Effect.gen(function* () {
  const projects = yield* Projects
  const machines = yield* Machines
  const archives = yield* Archives
  const { machine } = yield* given.active("red")
  const after = { lastActiveAt: 0, projectId: given.projectId("red") }
  yield* given.ready("pool1")
  yield* projects.routes([after.projectId, given.projectId("crowd-10")])
  yield* projects.list({ state: null, cursor: null, limit: 20 })
  const page = yield* projects.list({ state: "dormant", cursor: null, limit: 20 })
  yield* projects.list({ state: "dormant", cursor: page.next, limit: 20 })
  yield* projects.idleCandidates({ idleMs: 7 * day, limit: 100, after: null })
  yield* projects.idleCandidates({ idleMs: 7 * day, limit: 100, after })
  yield* projects.expiredLeases(100)
  yield* projects.running(100)
  yield* projects.events({ projectId: after.projectId, limit: 20, before: null })
  yield* projects.touch([after.projectId])
  yield* projects.expireWake(after.projectId)
  yield* machines.observe([{ machineId: machine.machineId ?? "", state: "suspended", volumeId: null, privateIp: null }])
  yield* machines.bin(20)
  yield* machines.pool
  yield* machines.ofProject(after.projectId)
  yield* machines.discardUnnamed(20)
  yield* machines.discardAbandoned(0, 20)
  yield* machines.purge(day, 20)
  yield* archives.bin({ limit: 20, marginMs: 0 })
  yield* archives.discardAbandoned(20)
  yield* given.archived("red", "red-1")
  const begun = given.begun(
    yield* projects.beginWake({
      projectId: given.projectId("crowd-1"),
      operationId: "w",
      leaseMs: given.leaseMs,
      claim: given.claim
    })
  )
  yield* projects.commitActive({ lease: leaseOf(begun.project), machine: given.machineName("pool1") })
  yield* given.deleted("red")
})

/** The plan of the only statement that the effect sends. */
const planOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { query } = yield* TestDatabase
    statements.length = 0
    yield* effect
    const statement = given.present(statements[0])
    const plan = yield* query(`EXPLAIN ${statement.sql}`, statement.params)
    return plan.map((row) => row["QUERY PLAN"]).join("\n")
  })

describe("plans on a large table", () => {
  it.live("no statement reads a whole table", () =>
    Effect.gen(function* () {
      const { query } = yield* TestDatabase
      yield* crowd
      statements.length = 0
      yield* everythingHot
      const hot = new Map(statements.map(({ params, sql }) => [sql, params]))
      assert.isAbove(hot.size, 25)
      for (const [sql, params] of hot) {
        if (!sql.includes("valet.")) continue
        const plan = (yield* query(`EXPLAIN ${sql}`, params)).map((row) => row["QUERY PLAN"]).join("\n")
        assert.notMatch(plan, /Seq Scan on (projects|machines|archives|events)/, `${sql}\n${plan}`)
      }
      const projects = yield* Projects
      const machines = yield* Machines
      const expected: ReadonlyArray<readonly [effect: Effect.Effect<unknown, unknown>, index: string]> = [
        [projects.list({ state: null, cursor: null, limit: 20 }), "projects_newest"],
        [projects.list({ state: "suspended", cursor: null, limit: 20 }), "projects_newest_of_state"],
        [projects.idleCandidates({ idleMs: day, limit: 20, after: null }), "projects_idle "],
        [projects.idleCandidates({ idleMs: day, limit: 20, after: null }), "projects_idle_own"],
        [projects.expiredLeases(20), "projects_lease"],
        [projects.running(20), "projects_running"],
        [machines.bin(20), "machines_bin"],
        [
          projects.beginWake({
            projectId: given.projectId("crowd-3"),
            operationId: "w",
            leaseMs: given.leaseMs,
            claim: given.claim
          }),
          "machines_ready"
        ]
      ]
      for (const [effect, index] of expected) {
        const plan = yield* planOf(effect)
        assert.match(plan, new RegExp(`(?:using|Bitmap Index Scan on) ${index}`), plan)
      }
    }).pipe(Effect.provide(stores))
  )
})
