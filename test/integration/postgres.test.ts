/** The programs on the live stores: real PostgreSQL, Fly and machines in memory, the real clock. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { PlaneConfigValue } from "../../src/config/PlaneConfig.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { Identity } from "../../src/programs/Identity.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerTestServices } from "../../src/testing/TestPlane.ts"
import { createInput } from "../programs/support.ts"
import { layerInstance, observing, TestDatabase } from "../support/TestDatabase.ts"

const config = (defaults: PlaneConfigValue): PlaneConfigValue => ({
  ...defaults,
  create: { windows: "off", public: true },
  pool: { ...defaults.pool, size: 3 }
})

const observed = observing(layerInstance)

/** One instance's programs over the shared world, and the context to run them in. */
const plane = layerLifecycle.pipe(
  Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
  Layer.provideMerge(
    Layer.unwrap(
      Effect.map(TestDatabase, (database) =>
        layerTestServices({ config, stores: Layer.provide(observed.layer, Layer.succeed(TestDatabase, database)) })
      )
    )
  )
)

/** A second instance: its own stores, programs and locks on the same database, Fly and machines. */
const secondInstance = Effect.gen(function* () {
  const world = yield* Effect.context<FlyWorld | FakeMachines | TestDatabase>()
  const context = yield* Layer.build(
    Layer.fresh(layerLifecycle).pipe(
      Layer.provide(Layer.fresh(Layer.mergeAll(Identity.layer, Signals.layer))),
      Layer.provide(layerInstance)
    )
  )
  return Context.get(Context.merge(world, context), Lifecycle)
})

describe("the plane on PostgreSQL", () => {
  it.live("a warm wake is one machine call and two statements beside the first read, and no call to Fly", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const world = yield* FlyWorld
      const servers = yield* FakeMachines
      const created = yield* lifecycle.create(createInput)
      const id = created.view.project.projectId
      assert.strictEqual((yield* archive(id, { force: true }))._tag, "Archived")
      yield* replenishPool
      yield* world.resetCalls
      const calls: Array<string> = []
      yield* servers.setFaults((call) => Effect.sync(() => (calls.push(call), {})))
      observed.statements.length = 0
      const woken = yield* lifecycle.wake(id, { deadlineMs: 20_000 })
      assert.strictEqual(woken.source, "pool")
      assert.deepStrictEqual(calls, ["configure"])
      assert.strictEqual(yield* world.callCount(), 0)
      assert.strictEqual(observed.statements.length, 3, observed.statements.join("\n"))
    }).pipe(Effect.provide(plane.pipe(Layer.provideMerge(TestDatabase.layer))))
  )

  it.live("50 simultaneous requests for one dormant project over two instances are one wake", () =>
    Effect.gen(function* () {
      const first = yield* Lifecycle
      const second = yield* secondInstance
      const servers = yield* FakeMachines
      const projects = yield* Projects
      const created = yield* first.create(createInput)
      const id = created.view.project.projectId
      yield* archive(id, { force: true })
      yield* replenishPool
      const before = Option.getOrThrow(yield* projects.find(id)).project.generation
      let configured = 0
      yield* servers.setFaults((call) =>
        Effect.sync(() => {
          if (call === "configure") configured += 1
          return { latencyMs: 20 }
        })
      )
      const results = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? first : second)),
        (instance) => instance.wake(id, { deadlineMs: 20_000 }),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(configured, 1)
      assert.strictEqual(new Set(results.map(({ view }) => view.machine?.machineId)).size, 1)
      assert.strictEqual(Option.getOrThrow(yield* projects.find(id)).project.generation, before + 1)
    }).pipe(Effect.scoped, Effect.provide(plane.pipe(Layer.provideMerge(TestDatabase.layer))))
  )

  it.live("a burst on two instances hands no pool machine out twice and loses none", () =>
    Effect.gen(function* () {
      const first = yield* Lifecycle
      const second = yield* secondInstance
      const machines = yield* Machines
      yield* replenishPool
      const created = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? first : second)),
        (instance) => instance.create(createInput),
        { concurrency: "unbounded" }
      )
      const served = created.flatMap(({ view }) => (view.machine === null ? [] : [view.machine.machineId]))
      assert.strictEqual(new Set(served).size, served.length)
      const assigned = (yield* machines.living).filter((row) => row.status === "assigned")
      assert.strictEqual(new Set(assigned.map((row) => row.project)).size, assigned.length)
    }).pipe(Effect.scoped, Effect.provide(plane.pipe(Layer.provideMerge(TestDatabase.layer))))
  )
})
