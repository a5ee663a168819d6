import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { bareWakes } from "../../bench/wake/BareWake.ts"
import { planeWakes } from "../../bench/wake/PlaneWake.ts"
import { quantile } from "../../bench/wake/Scene.ts"
import { callsOf, latencyMs, phasesOf, type Task, type Wake } from "../../bench/wake/Task.ts"
import { settled } from "../programs/support.ts"

const warm: Task = { source: "pool", projects: 1, atOnce: 1, budget: false, startMs: 0 }
const cold: Task = { ...warm, source: "cold" }

/** What is written later holds up no answer. */
const operations = (calls: ReadonlyArray<{ readonly operation: string }>) =>
  calls.map(({ operation }) => operation).filter((operation) => operation !== "touch")

const latencies = (task: Task) => callsOf(task).reduce((sum, { to }) => sum + latencyMs[to], 0)

const cases = [
  { name: "from the pool", task: warm, ms: 9 },
  { name: "cold", task: cold, ms: 3 + 450 + 7 + 6 },
  { name: "cold, within Fly's budget", task: { ...cold, budget: true }, ms: 3 + 450 + 7 + 6 }
]

describe("a wake of the bench", () => {
  it.effect.each(cases)("$name: the plane makes the bare script's calls, and waits for nothing else", ({ ms, task }) =>
    Effect.gen(function* () {
      const { calls, wakes } = yield* settled(planeWakes(task), 1)
      assert.deepStrictEqual(operations(calls), operations(callsOf(task)))
      assert.deepStrictEqual(
        wakes.map(({ total }) => total),
        [ms]
      )
      assert.strictEqual(latencies(task), ms)
    })
  )

  it.effect("its phases are of what the calls are for", () =>
    Effect.gen(function* () {
      const { wakes } = yield* settled(planeWakes(cold), 1)
      const expected: Wake = { total: 466, begin: 3, provision: 457, configure: 5, restore: 0, commit: 1 }
      assert.deepStrictEqual(wakes, [expected])
    })
  )

  it.effect("a machine that Fly takes long to start is waited for", () =>
    Effect.gen(function* () {
      const task = { ...cold, startMs: 5_000 }
      const { calls, wakes } = yield* settled(planeWakes(task), 1)
      assert.deepStrictEqual(
        operations(calls).filter((it) => it !== "renew"),
        operations(callsOf(task))
      )
      // From the moment at which Fly had created it: two of its calls are over, and the machine's own time begins.
      assert.strictEqual(wakes[0]?.provision, 1 + 1 + 1 + 150 + 1 + 1 + 150 + 5_000)
    })
  )

  it.effect("many at once: as one from the pool; cold, as many a second as Fly's budget has", () =>
    Effect.gen(function* () {
      const many = { projects: 6, atOnce: 6 }
      const totals = (task: Task) =>
        Effect.map(settled(planeWakes(task), 1), ({ wakes }) =>
          wakes.map(({ total }) => total).toSorted((a, b) => a - b)
        )
      assert.deepStrictEqual(
        yield* totals({ ...warm, ...many }),
        Array.from({ length: 6 }, () => 9)
      )
      assert.deepStrictEqual(
        yield* totals({ ...cold, ...many }),
        Array.from({ length: 6 }, () => 466)
      )
      const last = (yield* totals({ ...cold, ...many, budget: true })).at(-1) ?? 0
      // What waits goes out 50 ms later, so that none is early at Fly.
      assert.isAbove(last, 466 + 3_050 - 10)
      assert.isBelow(last, 466 + 3_050 + 10)
    })
  )

  it.live("the bare script waits at least as long, and within Fly's budget as well", () =>
    Effect.gen(function* () {
      const totals = (task: Task) =>
        Effect.map(
          Effect.promise(() => bareWakes(task)),
          (wakes) => wakes.map(({ total }) => total)
        )
      // A timer of Node ends up to a millisecond early.
      const early = (task: Task) => latencies(task) - callsOf(task).length
      assert.isAtLeast((yield* totals({ ...warm, projects: 3 }))[2] ?? 0, early(warm))
      const many = { ...cold, projects: 4, atOnce: 4, budget: true }
      const sorted = (yield* totals(many)).toSorted((a, b) => a - b)
      assert.lengthOf(sorted, 4)
      assert.isAtLeast(sorted[3] ?? 0, 1_000 + early(cold))
    })
  )

  it("phases of a machine that answered more than once, or of no calls at all", () => {
    const call = (operation: string, arrived: number, answered: number) => ({ operation, arrived, answered })
    const calls = [call("beginWake", 2, 3), call("configure", 8, 9), call("configure", 13, 20)]
    assert.deepStrictEqual(phasesOf(1, calls, 22), {
      total: 21,
      begin: 2,
      provision: 0,
      configure: 5,
      restore: 12,
      commit: 2
    })
    assert.strictEqual(phasesOf(1, [], 4).commit, 3)
  })

  it("a percentile is one of the values", () => {
    const values = Array.from({ length: 25 }, (_, at) => 25 - at)
    assert.strictEqual(quantile(values, 0.95), 24)
    assert.strictEqual(quantile([7], 0.95), 7)
    assert.isNull(quantile([], 0.95))
  })
})
