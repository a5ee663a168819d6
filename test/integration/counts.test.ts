/** What the plane's operations cost in statements, machine calls and calls to Fly: as stable as times are not. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { PlaneConfigValue } from "../../src/config/PlaneConfig.ts"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { Router } from "../../src/http/router/Router.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { sweep } from "../../src/programs/dormancy/Sweep.ts"
import { Identity } from "../../src/programs/Identity.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerTestServices } from "../../src/testing/TestPlane.ts"
import { request, projectHost } from "../http/support.ts"
import { createInput } from "../programs/support.ts"
import { layerInstance, observing, TestDatabase } from "../support/TestDatabase.ts"

const day = 24 * 60 * 60_000

const config = (defaults: PlaneConfigValue): PlaneConfigValue => ({
  ...defaults,
  create: { windows: "off", public: true },
  pool: { ...defaults.pool, size: 3 }
})

const observed = observing(layerInstance)

const plane = Router.layer.pipe(
  Layer.provideMerge(layerLifecycle),
  Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
  Layer.provideMerge(
    Layer.unwrap(
      Effect.map(TestDatabase, (database) => {
        const stores = Layer.provide(observed.layer, Layer.succeed(TestDatabase, database))
        return layerTestServices({ config, stores }).pipe(Layer.provideMerge(stores))
      })
    )
  ),
  Layer.provideMerge(TestDatabase.layer)
)

const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const servers = yield* FakeMachines
    const machineCalls: Array<string> = []
    yield* world.resetCalls
    yield* servers.setFaults((call) => Effect.sync(() => (machineCalls.push(call), {})))
    observed.statements.length = 0
    const value = yield* effect
    return { value, statements: observed.statements.length, machineCalls, flyCalls: yield* world.callCount() }
  })

const created = Effect.gen(function* () {
  const lifecycle = yield* Lifecycle
  return (yield* lifecycle.create(createInput)).view.project.projectId
})

const routed = (id: ProjectId) =>
  Effect.flatMap(Router, (router) => router.route(request("/", { Host: projectHost(id) })))

describe("what operations cost", () => {
  it.live(
    "a create with a pool machine: begin, insert with its claim, commit, the project's commit; one machine call",
    () =>
      Effect.gen(function* () {
        yield* replenishPool
        const found = yield* counted(created)
        assert.deepStrictEqual(found.machineCalls, ["configure"])
        assert.strictEqual(found.flyCalls, 0)
        assert.strictEqual(found.statements, 4, observed.statements.map(({ sql }) => sql).join("\n"))
      }).pipe(Effect.provide(plane))
  )

  it.live("a claim is part of the statement that begins the wake", () =>
    Effect.gen(function* () {
      yield* replenishPool
      const projects = yield* Projects
      const id = yield* created
      yield* Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant"))
      yield* replenishPool
      const claim = { image: "registry.example/project:1", region: "sjc" }
      const found = yield* counted(projects.beginWake({ projectId: id, operationId: "claims", leaseMs: 10_000, claim }))
      assert.strictEqual(found.value._tag === "Begun" && found.value.machine?.status, "assigned")
      assert.strictEqual(found.statements, 1)
    }).pipe(Effect.provide(plane))
  )

  it.live("a sweep: one statement a page, three a project, and one machine call", () =>
    Effect.gen(function* () {
      yield* replenishPool
      const { query } = yield* TestDatabase
      const ids = yield* Effect.all([created, created])
      yield* query("UPDATE valet.projects SET last_active_at = last_active_at - $1::bigint * interval '1 ms'", [
        8 * day
      ])
      const found = yield* counted(sweep)
      assert.strictEqual(found.value.candidates, ids.length)
      assert.strictEqual(found.value.archived, ids.length)
      assert.deepStrictEqual(found.machineCalls, ["archive-to-r2", "archive-to-r2"])
      assert.strictEqual(found.statements, 1 + 3 * ids.length)
    }).pipe(Effect.provide(plane))
  )

  it.live("a route that is not cached is one statement, a hundred at once are a few, and a cached one is none", () =>
    Effect.gen(function* () {
      yield* replenishPool
      const ids = yield* Effect.all([created, created, created])
      const one = yield* counted(routed(ids[0]))
      assert.strictEqual(one.value?.status, 307)
      assert.strictEqual(one.statements, 1)
      const again = yield* counted(routed(ids[0]))
      assert.strictEqual(again.statements, 0)
      const unknown = Array.from({ length: 100 }, (_, index) => `quiet-otter-${index}`)
      const many = yield* counted(
        Effect.flatMap(Router, (router) =>
          Effect.forEach(unknown, (id) => router.route(request("/", { Host: projectHost(id) })), {
            concurrency: "unbounded"
          })
        )
      )
      assert.isTrue(many.value.every((answer) => answer?.status === 404))
      assert.isAtMost(many.statements, 5)
    }).pipe(Effect.provide(plane))
  )

  it.live("a touch within the day writes to no index", () =>
    Effect.gen(function* () {
      const { query } = yield* TestDatabase
      yield* query(
        `INSERT INTO valet.projects (project_id, uid, state, operation, generation, region, deploy_key_sealed,
           deploy_key_id, dormancy_threshold_seconds, created_at, last_active_at)
         VALUES ('red', 'u', 'dormant', 'none', 1, 'sjc', 's', 'k', 60, now(), '2026-01-02T03:04:05Z')`
      )
      const besideTheRow = Effect.map(
        query("SELECT n_tup_hot_upd::int AS n FROM pg_stat_xact_user_tables WHERE relid = 'valet.projects'::regclass"),
        ([row]) => Number(row?.["n"])
      )
      /** Whether the row's new version is a heap-only tuple. */
      const touchedAt = (at: string) =>
        Effect.gen(function* () {
          yield* query("BEGIN")
          const before = yield* besideTheRow
          yield* query("UPDATE valet.projects SET last_active_at = $1::timestamptz", [at])
          const written = (yield* besideTheRow) - before
          yield* query("ROLLBACK")
          return written === 1
        })
      assert.isTrue(yield* touchedAt("2026-01-02T23:58:59Z"))
      assert.isFalse(yield* touchedAt("2026-01-03T00:00:00Z"))
    }).pipe(Effect.provide(TestDatabase.layer))
  )
})
