import { assert, describe, it } from "@effect/vitest"
import { modes } from "../../src/testing/simulation/Profile.ts"
import { explain } from "../../src/testing/simulation/Report.ts"
import { simulate } from "../../src/testing/simulation/Simulation.ts"

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

  for (const mode of modes) {
    it.each([1, 2, 3, 4])(`violates nothing in seed %i (${mode}, half a day)`, (seed) => {
      const result = simulate({ seed, mode, days: 0.5 })
      assert.isNull(result.violation, explain(result, "npm run simulate --"))
      assert.isAbove(result.counts.get("client write Acknowledged") ?? 0, 20)
    })
  }

  it("uses what it is about: creates, wakes, archives, deletes, without any fault", () => {
    const { counts, violation } = simulate({ seed: 1, mode: "liveness", days: 1, profile: "quiet" })
    assert.isNull(violation)
    for (const event of ["created", "woken", "archived", "suspended", "resumed", "deleted", "settings_changed"]) {
      assert.isAbove(counts.get(`event ${event}`) ?? 0, 0, event)
    }
    const faults = [...counts.keys()].filter((name) => name.startsWith("fault "))
    assert.deepStrictEqual(faults, [])
  })
})
