import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { kinds, schedule } from "./Calamities.ts"

describe("the schedule of faults", () => {
  it.effect("is the seed's alone", () =>
    Effect.gen(function* () {
      const first = yield* schedule(7, 600_000, 4_000)
      assert.deepStrictEqual(yield* schedule(7, 600_000, 4_000), first)
      assert.notDeepEqual(yield* schedule(8, 600_000, 4_000), first)
    })
  )

  it.effect("has each kind in each round, within its time and in its order", () =>
    Effect.gen(function* () {
      const all = yield* schedule(7, 600_000, 4_000)
      assert.isAbove(all.length, 90)
      for (let from = 0; from + kinds.length <= all.length; from += kinds.length) {
        const round = all.slice(from, from + kinds.length).map(({ calamity }) => calamity.kind)
        assert.deepStrictEqual(round.toSorted(), kinds.toSorted())
      }
      assert.deepStrictEqual(
        all.map(({ atMs }) => atMs),
        all.map(({ atMs }) => atMs).toSorted((a, b) => a - b)
      )
      assert.isBelow(all.at(-1)?.atMs ?? 0, 600_000)
    })
  )
})
