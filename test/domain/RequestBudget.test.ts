import { assert, it } from "@effect/vitest"
import { book, type Booking } from "../../src/domain/RequestBudget.ts"

const budget: Booking = { intervalMs: 1000, burst: 3, reserve: 0, maxWaitMs: 10_000 }

/** Books one after the other at one moment, and returns the waits. */
const bookings = (count: number, now: number, changes: Partial<Booking> = {}) => {
  let arrival = now
  return Array.from({ length: count }, () => {
    const booked = book({ ...budget, ...changes }, arrival, now)
    arrival = booked?.arrival ?? arrival
    return booked?.waitMs ?? null
  })
}

it("the burst at once, then one each interval", () => {
  assert.deepStrictEqual(bookings(5, 0), [0, 0, 0, 1000, 2000])
})

it("what would wait too long is not booked", () => {
  assert.deepStrictEqual(bookings(6, 0, { maxWaitMs: 1000 }), [0, 0, 0, 1000, null, null])
})

it("a reserve is left to others, also when it is all of the burst", () => {
  assert.deepStrictEqual(bookings(3, 0, { reserve: 1 }), [0, 0, 1000])
  assert.deepStrictEqual(bookings(2, 0, { reserve: 3 }), [1000, 2000])
})

it("recovers with time, and never beyond the burst", () => {
  const after = book(budget, 3000, 1000)
  assert.deepStrictEqual(after, { waitMs: 0, arrival: 4000 })
  assert.deepStrictEqual(book(budget, 3000, 60_000), { waitMs: 0, arrival: 61_000 })
})

it("in any interval at most the burst and one more are sent", () => {
  let arrival = 0
  const sent: Array<number> = []
  for (let now = 0; now < 20_000; now += 130) {
    const booked = book(budget, arrival, now)
    if (booked === null) continue
    arrival = booked.arrival
    sent.push(now + booked.waitMs)
  }
  for (const from of sent) {
    assert.isAtMost(sent.filter((at) => at >= from && at < from + budget.intervalMs).length, budget.burst)
  }
})
