/** The same random histories on memory and PostgreSQL: what each step returns, and every row after it, must be equal. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { layerMemoryStores } from "../../../src/testing/memory/MemoryStores.ts"
import { history, runHistory } from "../../contract/stores/histories.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"
import { amount } from "../../support/amount.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { layerStores, sharedByFile } from "../../support/TestDatabase.ts"

const memoryTime = Layer.succeed(StoreTime, { advance: (ms) => TestClock.adjust(ms), driftMs: 0 })
const memory = Layer.fresh(Layer.merge(layerMemoryStores, memoryTime)).pipe(Layer.provideMerge(TestClock.layer()))
const postgres = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layerStores)))

const histories = amount(12, 60)

describe(`${histories} histories on memory and PostgreSQL`, () => {
  it.live.each(Array.from({ length: histories }, (_, i) => ({ seed: 1000 + i })))("$seed", ({ seed }) =>
    Effect.gen(function* () {
      const expected = yield* runHistory(history(seed, 120)).pipe(Effect.provide(memory))
      const actual = yield* runHistory(history(seed, 120)).pipe(Effect.provide(postgres))
      for (const [index, observation] of actual.observations.entries()) {
        assert.deepStrictEqual(observation, expected.observations[index])
      }
      assert.deepStrictEqual(actual, expected)
    })
  )
})
