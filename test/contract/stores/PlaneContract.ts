/** Who the plane is, and the request budget that its instances share. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Plane } from "../../../src/services/db/Plane.ts"
import { advance, minute, type StoreHarness, testsOn } from "./StoreHarness.ts"
import { assertNear } from "./Given.ts"

/** One request a minute, three at once: intervals that dwarf the time that passes by itself. */
const budget = { bucket: "start:m1", intervalMs: minute, burst: 3, reserve: 0, maxWaitMs: 0 }

const book = (changes: Partial<typeof budget> = {}) =>
  Effect.flatMap(Plane, (plane) => plane.book({ ...budget, ...changes }))

export const planeContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: plane`, () => {
    test("the first start decides who the plane is", () =>
      Effect.gen(function* () {
        const plane = yield* Plane
        const first = { planeId: "p1", flyApp: "app", bucket: "archives" }
        assert.deepStrictEqual(yield* plane.identify(first), first)
        assert.deepStrictEqual(yield* plane.identify({ ...first, planeId: "p2" }), first)
        assert.deepStrictEqual(yield* plane.identify({ planeId: "p3", flyApp: "other", bucket: "others" }), first)
        assert.deepStrictEqual(yield* plane.identify({ ...first, planeId: "p4", bucket: null }), first)
      }))

    test("a bucket is filled in later, once, and not by a stranger", () =>
      Effect.gen(function* () {
        const plane = yield* Plane
        const first = { planeId: "p1", flyApp: "app", bucket: null }
        assert.deepStrictEqual(yield* plane.identify(first), first)
        assert.deepStrictEqual(yield* plane.identify({ ...first, flyApp: "other", bucket: "others" }), first)
        const filled = { ...first, bucket: "archives" }
        assert.deepStrictEqual(yield* plane.identify({ ...first, planeId: "p2", bucket: "archives" }), filled)
        assert.deepStrictEqual(yield* plane.identify({ ...first, bucket: "second" }), filled)
      }))

    test("many first starts at once agree", () =>
      Effect.gen(function* () {
        const plane = yield* Plane
        const found = yield* Effect.forEach(
          Array.from({ length: 10 }, (_, i) => `p${i}`),
          (planeId) => plane.identify({ planeId, flyApp: "app", bucket: null }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(found.map(({ planeId }) => planeId)).size, 1)
      }))

    test("is ready", () =>
      Effect.gen(function* () {
        const plane = yield* Plane
        assert.isTrue(yield* plane.ready)
      }))
  })

  describe(`${harness.name}: request budget`, () => {
    test("a burst at once, then one each interval; what would wait too long is not booked", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 3; i++) assert.strictEqual(yield* book(), 0)
        for (let i = 0; i < 5; i++) assert.isNull(yield* book())
        yield* advance(minute)
        assert.strictEqual(yield* book(), 0)
        assert.isNull(yield* book())
        yield* advance(10 * minute)
        for (let i = 0; i < 3; i++) assert.strictEqual(yield* book(), 0)
        assert.isNull(yield* book())
      }))

    test("tells how long to wait, each after the other", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 3; i++) yield* book()
        yield* assertNear(yield* book({ maxWaitMs: 5 * minute }), minute)
        yield* assertNear(yield* book({ maxWaitMs: 5 * minute }), 2 * minute)
        yield* advance(minute)
        yield* assertNear(yield* book({ maxWaitMs: 5 * minute }), 2 * minute)
        assert.isNull(yield* book({ maxWaitMs: minute }))
      }))

    test("a reserve leaves room for others", () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* book({ reserve: 1 }), 0)
        assert.strictEqual(yield* book({ reserve: 1 }), 0)
        assert.isNull(yield* book({ reserve: 1 }))
        yield* assertNear(yield* book({ reserve: 2, maxWaitMs: 5 * minute }), 2 * minute)
        assert.isNull(yield* book())
        yield* advance(minute)
        assert.strictEqual(yield* book(), 0)
      }))

    test("each bucket for itself", () =>
      Effect.gen(function* () {
        for (let i = 0; i < 3; i++) yield* book()
        assert.isNull(yield* book())
        assert.strictEqual(yield* book({ bucket: "start:m2" }), 0)
      }))

    test("exact when many ask at once", () =>
      Effect.gen(function* () {
        const booked = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          () => book({ maxWaitMs: 2.5 * minute }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(booked.filter((wait) => wait !== null).length, 5)
        assert.strictEqual(booked.filter((wait) => wait === 0).length, 3)
      }))
  })
}
