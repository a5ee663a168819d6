import { assert, it } from "@effect/vitest"
import { defaultCreateWindows, retryAfterMs } from "../../src/domain/RateLimit.ts"

const minute = 60_000
const wait = (accepted: ReadonlyArray<number>, now: number) => retryAfterMs(accepted, defaultCreateWindows, now)

it("three in a minute, to the millisecond", () => {
  assert.strictEqual(wait([0, 1], 2), 0)
  assert.strictEqual(wait([0, 1, 2], 3), minute - 3)
  assert.strictEqual(wait([0, 1, 2], minute - 1), 1)
  assert.strictEqual(wait([0, 1, 2], minute), 0)
  assert.strictEqual(wait([0, 1, 2, minute], minute), 1)
})

it("the longest of all waits counts", () => {
  const six = [0, 1, 2, minute, minute + 1, minute + 2]
  assert.strictEqual(wait(six, minute + 3), 14 * minute - 3)
  assert.strictEqual(wait(six, 15 * minute), 0)
  const fifteen = Array.from({ length: 15 }, (_, i) => i * 3 * minute)
  assert.strictEqual(wait(fifteen, 43 * minute), 17 * minute)
})

it("whatever the order, and without windows at once", () => {
  assert.strictEqual(wait([2, 0, 1], 3), minute - 3)
  assert.strictEqual(retryAfterMs([0, 1, 2], [], 3), 0)
})

it("a client that waits as told is always accepted, and never more than the limit in any window", () => {
  const accepted: Array<number> = []
  let now = 0
  for (let i = 0; i < 100; i++) {
    now += wait(accepted, now)
    assert.strictEqual(wait(accepted, now), 0)
    accepted.push(now)
  }
  for (const { limit, windowMs } of defaultCreateWindows) {
    for (const end of accepted) {
      assert.isAtMost(accepted.filter((at) => at > end - windowMs && at <= end).length, limit)
    }
  }
})
