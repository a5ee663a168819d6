import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { InFlight, UnderWay } from "../../src/http/InFlight.ts"

class Thing extends UnderWay {}

describe("InFlight", () => {
  it.effect("holds what was added and not deleted, in whatever order they leave", () =>
    Effect.gen(function* () {
      const inFlight = new InFlight<Thing>()
      const expected = new Set<Thing>()
      const seen: Array<Thing> = []
      for (let step = 0; step < 5_000; step++) {
        if (yield* Random.nextBoolean) {
          const one = new Thing()
          seen.push(one)
          inFlight.add(one)
          expected.add(one)
        } else {
          // Also of one that left long ago.
          const one = seen[yield* Random.nextIntBetween(0, Math.max(1, seen.length))]
          if (one === undefined) continue
          inFlight.delete(one)
          expected.delete(one)
        }
        const all = inFlight.all()
        assert.strictEqual(all.length, expected.size)
        assert.isTrue(all.every((one) => expected.has(one)))
      }
      assert.isAbove(expected.size, 0)
      assert.strictEqual(new Set(inFlight.all()).size, expected.size)
    }).pipe(Random.withSeed("in flight"))
  )
})
