import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { alternate, figure, isVoid, median, type Round, spread } from "../../bench/harness/Rounds.ts"

/** A candidate that has these rounds ready, and notes each that is taken. */
const scripted = (name: string, rounds: ReadonlyArray<Round<"rate">>, taken: Array<string>) => {
  let next = 0
  const round = Effect.sync((): Round<"rate"> => {
    taken.push(name)
    return rounds[next++] ?? { values: { rate: Number.NaN }, generatorCpu: 0 }
  })
  return { name, round }
}

const at = (rate: number, generatorCpu: number | null = 0.5): Round<"rate"> => ({ values: { rate }, generatorCpu })

describe("rounds", () => {
  it.effect("candidates take turns", () =>
    Effect.gen(function* () {
      const taken: Array<string> = []
      const results = yield* alternate("test", 3, [
        scripted("a", [at(1), at(2), at(3)], taken),
        scripted("b", [at(10), at(20), at(30)], taken)
      ])
      assert.deepStrictEqual(taken, ["a", "b", "a", "b", "a", "b"])
      assert.deepStrictEqual(results.of("a", "rate"), [1, 2, 3])
      assert.deepStrictEqual(results.of("b", "rate"), [10, 20, 30])
      assert.isUndefined(results.of("c", "rate"))
    })
  )

  it.effect("a void round is run again, and its value does not count", () =>
    Effect.gen(function* () {
      const taken: Array<string> = []
      const results = yield* alternate("test", 1, [scripted("a", [at(1, 0.95), at(2, 0.91), at(3, 0.9)], taken)])
      assert.deepStrictEqual(results.of("a", "rate"), [3])
      assert.strictEqual(taken.length, 3)
    })
  )

  it.effect("one that is void each time is given up, and the figure says so", () =>
    Effect.gen(function* () {
      const taken: Array<string> = []
      const results = yield* alternate("test", 2, [
        scripted(
          "a",
          Array.from({ length: 9 }, () => at(5, 0.99)),
          taken
        )
      ])
      const series = results.of("a", "rate")
      assert.deepStrictEqual(series, [null, null])
      assert.strictEqual(taken.length, 6)
      const found = figure({ name: "f", unit: "/s", series, base: { name: "b", series: [1, 1] }, goal: { atLeast: 1 } })
      assert.deepStrictEqual([found.value, found.ratio, found.met], [null, null, null])
      assert.match(found.note ?? "", /^void/)
    })
  )

  it("load that is no process of its own is never void", () => {
    assert.isFalse(isVoid(null))
    assert.isFalse(isVoid(0.9))
    assert.isTrue(isVoid(0.901))
  })

  it("median and spread are of what is there", () => {
    assert.strictEqual(median([3, 1, 2]), 2)
    assert.strictEqual(median([4, 1, null, 2, 3]), 2.5)
    assert.isNull(median([null]))
    assert.strictEqual(spread([8, 12, 10, 1_000, 4]), 0.4)
    assert.strictEqual(spread([10, 20]), 5 / 15)
    assert.isNull(spread([]))
  })
})

describe("a figure", () => {
  it("its ratio is the median of the rounds' ratios, not the ratio of the medians", () => {
    // The machine was slow in the second round, for both.
    const found = figure({
      name: "f",
      unit: "/s",
      series: [100, 50, 90],
      base: { name: "b", series: [100, 100, 60] },
      goal: { atLeast: 1 }
    })
    assert.strictEqual(found.value, 90)
    assert.strictEqual(found.baseValue, 100)
    assert.strictEqual(found.ratio, 1)
    assert.isTrue(found.met)
  })

  it("rounds without their counterpart do not count for the ratio", () => {
    const found = figure({
      name: "f",
      unit: "/s",
      series: [10, null, 40],
      base: { name: "b", series: [null, 5, 20] },
      goal: { atMost: 1.5 }
    })
    assert.strictEqual(found.ratio, 2)
    assert.isFalse(found.met)
    assert.strictEqual(found.note, "1 of 3 rounds void")
  })

  it("a goal of its value needs no base", () => {
    const found = figure({ name: "f", unit: "MB", series: [180], goal: { of: "value", atMost: 200 } })
    assert.isTrue(found.met)
    assert.isNull(found.ratio)
  })

  it("without a goal, or without its base, it is neither met nor missed", () => {
    assert.isNull(figure({ name: "f", unit: "/s", series: [1] }).met)
    const found = figure({
      name: "f",
      unit: "/s",
      series: [1],
      base: { name: "nginx", series: undefined },
      goal: { atLeast: 1 }
    })
    assert.isNull(found.met)
    assert.strictEqual(found.note, "nginx is not there")
  })
})
