import { assert, describe, it } from "@effect/vitest"
import { eventKinds } from "../../src/domain/Event.ts"
import { totals, explain } from "../../src/testing/simulation/Report.ts"
import { simulate, type SimulationResult } from "../../src/testing/simulation/Simulation.ts"

/** `npm run test:full`: more seeds, and of more than half a day. */
const full = process.env["VALET_TEST_FULL"] === "1"
const seeds = Array.from({ length: full ? 100 : 25 }, (_, at) => at + 1)
const days = full ? 2 : 0.5
/** Of each fault and each transition, in all these seeds. */
const often = full ? 20 : 2

describe("the simulation", () => {
  it("is the same to the byte for the same seed, and another one for another", () => {
    const options = { mode: "safety", days: 0.25 } as const
    const first = simulate({ ...options, seed: 1 })
    const again = simulate({ ...options, seed: 1 })
    assert.isAbove(first.lines, 1_000)
    assert.strictEqual(again.hash, first.hash)
    assert.deepStrictEqual([...again.counts], [...first.counts])
    assert.notStrictEqual(simulate({ ...options, seed: 2 }).hash, first.hash)
  })

  it("uses what it is about: creates, wakes, archives, deletes, without any fault", () => {
    const { counts, violation } = simulate({ seed: 2, mode: "liveness", days: 1, profile: "quiet" })
    assert.isNull(violation)
    for (const event of ["created", "woken", "archived", "suspended", "resumed", "deleted", "settings_changed"]) {
      assert.isAbove(counts.get(`event ${event}`) ?? 0, 0, event)
    }
    const faults = [...counts.keys()].filter((name) => name.startsWith("fault "))
    assert.deepStrictEqual(faults, [])
  })

  it("runs with the loops' default periods as well", () => {
    const result = simulate({ seed: 1, mode: "liveness", days: 0.1, intervals: 1 })
    assert.isNull(result.violation, explain(result, "npm run simulate --"))
  })
})

describe(`${seeds.length} seeds of ${days} days`, () => {
  const results: Array<SimulationResult> = []

  it.each(seeds)("seed %i violates nothing, and comes to rest when faults have ended", (seed) => {
    const result = simulate({ seed, mode: "liveness", days })
    assert.isNull(result.violation, explain(result, "npm run simulate --"))
    results.push(result)
  })

  it("meet every fault and every transition", () => {
    assert.strictEqual(results.length, seeds.length)
    const counts = totals(results)
    // No fault takes an archive's object away: `object_missing` is for those who do that by hand.
    const kinds = eventKinds.filter((kind) => kind !== "object_missing")
    const rare = [...kinds.map((kind) => `event ${kind}`), ...faults.map((name) => `fault ${name}`)].filter(
      (name) => (counts.get(name) ?? 0) < often
    )
    assert.deepStrictEqual(rare, [])
    assert.isAbove(counts.get("client write Acknowledged") ?? 0, 100 * seeds.length)
  })
})

const faults = [
  ...["after", "before", "lost", "slow", "feed_lost", "lock_lost", "outage"].map((it) => `database ${it}`),
  ...["answer_lost", "slow_hop"].map((it) => `edge ${it}`),
  ...["capacity", "drop", "empty_list", "error", "late", "latency", "rate_limit", "timeout"].map((it) => `fly ${it}`),
  ...["lost", "machine_lost", "migration", "unreachable"].map((it) => `host ${it}`),
  ...["crash_at_call", "pause", "pause_at_call"].map((it) => `instance ${it}`),
  "link orphaned",
  ...["crash", "crash_at_call", "duplicate", "late", "restore_fails", "seal_fails", "slow"].map(
    (it) => `machine ${it}`
  ),
  ...["unreachable", "unreachable_after"].map((it) => `machine ${it}`),
  ...["corrupt", "denied", "not_stored", "outage", "short", "slow", "unavailable", "unavailable_after"].map(
    (it) => `r2 ${it}`
  )
]
