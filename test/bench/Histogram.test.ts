import { assert, describe, it } from "@effect/vitest"
import { percentileMs } from "../../bench/harness/Histogram.ts"

describe("percentiles", () => {
  const hundred = Array.from({ length: 100 }, (_, at): readonly [number, number] => [(at + 1) * 1e6, 1])

  it("of one to a hundred milliseconds", () => {
    assert.strictEqual(percentileMs(hundred, 0.5), 50)
    assert.strictEqual(percentileMs(hundred, 0.99), 99)
    assert.strictEqual(percentileMs(hundred, 1), 100)
  })

  it("count how many each step holds", () => {
    assert.strictEqual(
      percentileMs(
        [
          [1e6, 990],
          [7e6, 10]
        ],
        0.99
      ),
      1
    )
    assert.strictEqual(
      percentileMs(
        [
          [1e6, 989],
          [7e6, 11]
        ],
        0.99
      ),
      7
    )
  })

  it("of nothing there is none", () => assert.isNull(percentileMs([], 0.5)))
})
