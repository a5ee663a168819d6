import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import { Plane } from "../../../src/services/db/Plane.ts"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { Fly, FlyPriority } from "../../../src/services/fly/Fly.ts"
import * as FlyBudget from "../../../src/services/fly/FlyBudget.ts"
import * as Scripted from "./scripted.ts"

const { actionRate, getMachineRate } = FlyBudget
const asked = { bucket: "createMachine:app", rate: actionRate, maxWaitMs: 60_000 }

const planeOf = (book: Plane["Service"]["book"]) => Layer.mock(Plane)({ book: book })
const unavailable = new StoreError({ operation: "book", reason: "Unavailable", detail: "down" })
const silent = Logger.layer([])

describe("Fly's request budget", () => {
  it.effect("a burst of three, then one a second; none where the wait is too long", () =>
    Effect.gen(function* () {
      const book = FlyBudget.makeLocal()
      const waits = yield* Effect.forEach([1, 2, 3, 4, 5], () => book(asked))
      assert.deepStrictEqual(waits, [0, 0, 0, 1_000, 2_000])
      assert.isNull(yield* book({ ...asked, maxWaitMs: 2_999 }))
      assert.strictEqual(yield* book({ ...asked, maxWaitMs: 3_000 }), 3_000)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* book(asked), 0)
      const gets = { bucket: "getMachine:m1", rate: getMachineRate, maxWaitMs: 60_000 }
      const reads = yield* Effect.forEach(Array.from({ length: 12 }), () => book(gets))
      assert.deepStrictEqual(reads.slice(8), [0, 0, 200, 400])
    })
  )

  it.effect("background callers leave room for a wake", () =>
    Effect.gen(function* () {
      const book = FlyBudget.makeLocal()
      const background = Effect.provideService(book(asked), FlyPriority, "background")
      assert.strictEqual(yield* background, 0)
      assert.strictEqual(yield* background, 1_000)
      assert.strictEqual(yield* book(asked), 0)
    })
  )

  it.effect("buckets do not count against each other, and the memory of them is bounded", () =>
    Effect.gen(function* () {
      const book = FlyBudget.makeLocal()
      for (let n = 0; n < 10_000; n++) assert.strictEqual(yield* book({ ...asked, bucket: `startMachine:m${n}` }), 0)
    })
  )

  it.effect("the database decides where it can, and is told the priority", () =>
    Effect.gen(function* () {
      const reserves: Array<number> = []
      const plane = planeOf(({ reserve }) => Effect.sync(() => (reserves.push(reserve), 1_234)))
      const book = Effect.flatMap(FlyBudget.FlyBudget, (budget) => budget.book(asked))
      const waits = Effect.all([book, Effect.provideService(book, FlyPriority, "background")])
      assert.deepStrictEqual(
        yield* waits.pipe(Effect.provide(FlyBudget.layer.pipe(Layer.provide(plane)))),
        [1_234, 1_234]
      )
      assert.deepStrictEqual(reserves, [0, actionRate.reserve])
    })
  )

  it.effect("half the rate alone where the database fails or is silent", () =>
    Effect.gen(function* () {
      for (const plane of [planeOf(() => Effect.fail(unavailable)), planeOf(() => Effect.never)]) {
        const book = Effect.flatMap(FlyBudget.FlyBudget, (budget) => budget.book(asked))
        const four = Scripted.passing(Effect.forEach([1, 2, 3, 4], () => book, { concurrency: 4 }))
        const waits = yield* four.pipe(Effect.provide(FlyBudget.layer.pipe(Layer.provide(plane))))
        assert.deepStrictEqual(
          waits.toSorted((a, b) => Number(a) - Number(b)),
          [0, 0, 0, 2_000]
        )
      }
    }).pipe(Effect.provide(silent))
  )

  it.effect("a call waits for its turn before it is sent", () =>
    Effect.gen(function* () {
      const { layer, sent } = Scripted.make(() => ({ status: 200, body: [] }), FlyBudget.layerLocal)
      const calls = Effect.flatMap(Fly, (fly) =>
        Effect.all([fly.listMachines, fly.listMachines, fly.listMachines, fly.listMachines])
      )
      yield* Scripted.passing(calls.pipe(Effect.provide(layer)))
      assert.deepStrictEqual(
        sent.map(({ at }) => at),
        [0, 0, 0, 1_050]
      )
    })
  )

  it.effect("a background call that waits holds no place before a wake that comes later", () =>
    Effect.gen(function* () {
      const { layer, sent } = Scripted.make(() => ({ status: 200, body: [] }), FlyBudget.layerLocal)
      const calls = Effect.gen(function* () {
        const fly = yield* Fly
        const times = (count: number) => Effect.all(Array.from({ length: count }, () => fly.listMachines))
        yield* times(3)
        const background = yield* Effect.forkChild(Effect.provideService(fly.listMachines, FlyPriority, "background"), {
          startImmediately: true
        })
        yield* times(2)
        yield* Fiber.join(background)
      })
      yield* Scripted.passing(calls.pipe(Effect.provide(layer)))
      assert.deepStrictEqual(
        sent.map(({ at }) => at),
        [0, 0, 0, 1_050, 2_050, 5_000]
      )
    })
  )

  it.effect("a background call that finds no room before its limit is RateLimited", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const full = Layer.succeed(
        FlyBudget.FlyBudget,
        FlyBudget.FlyBudget.of({ book: ({ maxWaitMs }) => Effect.sync(() => (asked.push(maxWaitMs), null)) })
      )
      const { layer, sent } = Scripted.make(() => null, full)
      const call = Effect.flatMap(Fly, (fly) => Effect.provideService(fly.listMachines, FlyPriority, "background"))
      const error = yield* Scripted.passing(Effect.flip(call.pipe(Effect.provide(layer))))
      assert.strictEqual(error.reason._tag, "RateLimited")
      assert.deepStrictEqual(sent, [])
      assert.isTrue(asked.length > 1 && asked.every((maxWaitMs) => maxWaitMs === 0))
    })
  )

  it.effect("a booking beyond the call's limit is RateLimited, and nothing is sent", () =>
    Effect.gen(function* () {
      const full = Layer.succeed(FlyBudget.FlyBudget, FlyBudget.FlyBudget.of({ book: () => Effect.succeed(null) }))
      const { layer, sent } = Scripted.make(() => null, full)
      const error = yield* Effect.flip(Effect.flatMap(Fly, (fly) => fly.getMachine("m1")).pipe(Effect.provide(layer)))
      assert.isTrue(error.reason._tag === "RateLimited" && error.reason.retryAfterMs === 15_000)
      assert.deepStrictEqual(sent, [])
    })
  )
})
