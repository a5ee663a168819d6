import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { PlaneConfig } from "../../src/config/PlaneConfig.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { layerLoops } from "../../src/programs/background/Loops.ts"
import { LoopStatus } from "../../src/programs/background/LoopStatus.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { newMachine } from "../../src/programs/lifecycle/Provision.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { Fly } from "../../src/services/fly/Fly.ts"
import { FlyError, RateLimited } from "../../src/services/fly/FlyError.ts"
import { layerTestPlane, testConfig } from "../../src/testing/TestPlane.ts"
import { atRest, createInput, lose, newProject, rest, settled } from "./support.ts"

const unlimited = { ...testConfig, create: { windows: "off" as const, public: true } }
const plane = layerTestPlane({ config: () => unlimited })
const ready = Effect.map(
  Effect.flatMap(Machines, (machines) => machines.pool),
  (rows) => rows.filter((row) => row.status === "ready")
)

describe("the warm pool", () => {
  it.effect("hands each machine out once in a burst beyond its size, falls to cold ones, and refills", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      yield* settled(replenishPool)
      const created = yield* settled(
        Effect.forEach(Array.from({ length: 20 }), () => lifecycle.create(createInput), { concurrency: "unbounded" })
      )
      const machines = created.flatMap(({ view }) => (view.machine === null ? [] : [view.machine.machineId]))
      assert.strictEqual(new Set(machines).size, machines.length, "no machine is handed out twice")
      assert.isAtLeast(machines.length, 3, "the cold path served beyond the pool")
      yield* settled(replenishPool)
      assert.strictEqual((yield* ready).length, 2)
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("burst"))
  )

  it.effect("recycles machines of another image", () =>
    Effect.gen(function* () {
      yield* settled(replenishPool)
      const before = yield* ready
      const newer = { ...unlimited, fly: { ...unlimited.fly, image: "registry.example/project:2" } }
      const pass = yield* settled(replenishPool.pipe(Effect.provideService(PlaneConfig, newer)))
      assert.deepStrictEqual(pass, { dropped: 2, filled: 2 })
      const after = yield* ready
      assert.isTrue(after.every((row) => row.image === newer.fly.image))
      assert.isFalse(after.some((row) => before.some((old) => old.name === row.name)))
    }).pipe(Effect.provide(plane), Random.withSeed("image"))
  )

  it.effect("discards what a pass that died left behind, and never adopts it", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const leftover = yield* newMachine("sjc")
      yield* machines.insertPool(leftover, 100)
      yield* TestClock.adjust("11 minutes")
      assert.deepStrictEqual(yield* settled(replenishPool), { dropped: 1, filled: 2 })
      assert.strictEqual((yield* machines.find(leftover.name))?.status, "discarded")
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("leftover"))
  )

  it.effect("replaces a machine that is gone at Fly, but not because a listing is empty", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      yield* settled(replenishPool)
      const [first] = yield* ready
      yield* world.inject({ match: { operation: "listMachines" }, fault: { kind: "empty_list" } })
      assert.deepStrictEqual(yield* settled(replenishPool), { dropped: 0, filled: 0 })
      yield* world.clearFaults
      yield* lose(first?.machineId ?? "", "both")
      const pass = yield* settled(replenishPool)
      assert.isAtLeast(pass.dropped, 1)
      assert.strictEqual((yield* ready).length, 2)
      assert.isFalse((yield* ready).some((row) => row.name === first?.name))
    }).pipe(Effect.provide(plane), Random.withSeed("gone"))
  )

  it.effect("tries less and less often where no machine can be had, and says so", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      yield* world.inject({ match: { operation: "createVolume" }, fault: { kind: "capacity", status: 422 } })
      for (let pass = 0; pass < 30; pass++) {
        const failed = yield* settled(Effect.flip(replenishPool))
        assert.match(failed.message, /Capacity/)
        yield* TestClock.adjust("30 seconds")
      }
      assert.isAtMost(yield* world.callCount("createVolume"), 10)
      yield* world.clearFaults
      for (let pass = 0; pass < 20; pass++) {
        yield* settled(Effect.ignore(replenishPool))
        yield* TestClock.adjust("30 seconds")
      }
      assert.strictEqual((yield* ready).length, 2)
    }).pipe(Effect.provide(plane), Random.withSeed("less often"))
  )

  it.effect("counts what one pass tried at once as one try", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      yield* world.inject({ match: { operation: "createVolume" }, fault: { kind: "capacity", status: 422 } })
      assert.match((yield* settled(Effect.flip(replenishPool))).message, /Capacity/)
      yield* world.clearFaults
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* settled(replenishPool), { dropped: 0, filled: 2 })
    }).pipe(Effect.provide(plane), Random.withSeed("one try"))
  )

  it.effect("fills up as soon as wakes leave it something of Fly's budget", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const reason = new RateLimited({ by: "budget", retryAfterMs: 0, detail: "the request budget is booked out" })
      const booked = Fly.of({
        ...fly,
        createVolume: () => Effect.fail(new FlyError({ operation: "createVolume", reason }))
      })
      const without = replenishPool.pipe(Effect.provideService(Fly, booked))
      for (let pass = 0; pass < 5; pass++) {
        assert.match((yield* settled(Effect.flip(without))).message, /booked out/)
        yield* TestClock.adjust("30 seconds")
      }
      assert.deepStrictEqual(yield* settled(replenishPool), { dropped: 0, filled: 2 })
    }).pipe(Effect.provide(plane), Random.withSeed("budget"))
  )

  it.effect("never exceeds VALET_MAX_MACHINES", () =>
    Effect.gen(function* () {
      yield* settled(replenishPool)
      assert.strictEqual((yield* ready).length, 1)
    }).pipe(
      Effect.provide(layerTestPlane({ config: () => ({ ...unlimited, fly: { ...unlimited.fly, maxMachines: 1 } }) })),
      Random.withSeed("most")
    )
  )
})

describe("the loops", () => {
  const statusOf = (name: string) =>
    Effect.gen(function* () {
      const statuses = yield* (yield* LoopStatus).statuses
      return statuses.find((status) => status.name === name)
    })

  it.effect("fill the pool at once and every 30 s, sweep every hour, and say so", () =>
    Effect.gen(function* () {
      for (let second = 0; second < 20; second++) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* ready).length, 2, "filled at the start")
      const first = yield* statusOf("pool")
      assert.deepInclude(first, { runs: 1, failures: 0, lastError: null })
      for (let second = 0; second < 29; second++) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* statusOf("pool"))?.runs, 2)
      for (let minute = 0; minute < 121; minute++) yield* TestClock.adjust("1 minute")
      const swept = yield* statusOf("sweep")
      assert.isTrue(swept?.runs === 2 || swept?.runs === 3, `two hours, ${swept?.runs} sweeps`)
    }).pipe(Effect.provide(layerLoops().pipe(Layer.provideMerge(plane))), Random.withSeed("loops"))
  )

  it.effect("refill when a claim tells them, without waiting for the period", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      for (let second = 0; second < 20; second++) yield* TestClock.adjust("1 second")
      yield* settled(lifecycle.create(createInput))
      for (let second = 0; second < 9; second++) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* ready).length, 2)
      assert.strictEqual((yield* statusOf("pool"))?.runs, 2)
    }).pipe(Effect.provide(layerLoops().pipe(Layer.provideMerge(plane))), Random.withSeed("poke"))
  )

  it.effect("count and show a pass that fails, and go on", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      yield* world.inject({ match: { operation: "createVolume" }, fault: { kind: "capacity", status: 422 } })
      for (let second = 0; second < 50; second++) yield* TestClock.adjust("1 second")
      const failing = yield* statusOf("pool")
      assert.isAtLeast(failing?.failures ?? 0, 1)
      assert.match(failing?.lastError ?? "", /Capacity/)
      yield* world.clearFaults
      for (let second = 0; second < 60; second++) yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* ready).length, 2)
      assert.strictEqual((yield* statusOf("pool"))?.lastError, null)
    }).pipe(Effect.provide(layerLoops().pipe(Layer.provideMerge(plane))), Random.withSeed("failing"))
  )

  it.effect("archive a project in the first sweep after seven days without traffic, and not before", () =>
    Effect.gen(function* () {
      const id = yield* newProject
      const projects = yield* Projects
      const state = Effect.map(projects.find(id), (view) => Option.getOrThrow(view).project.state)
      for (let hour = 0; hour < 7 * 24 - 1; hour++) yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* state, "active")
      for (let quarter = 0; quarter < 9; quarter++) yield* TestClock.adjust("15 minutes")
      assert.strictEqual(yield* state, "dormant")
    }).pipe(Effect.provide(layerLoops(["sweep"]).pipe(Layer.provideMerge(plane))), Random.withSeed("week"))
  )
})
