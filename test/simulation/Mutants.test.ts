import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import { openWorker, runIn } from "../../scripts/SimulationThread.ts"
import { isCaughtBy, patched } from "../../scripts/mutants/Mutant.ts"
import { mutants } from "../../scripts/mutants/Mutants.ts"
import { patchedCopy } from "../../scripts/mutants/PatchedCopy.ts"
import { jobOf, recorded } from "../../scripts/mutants/Recorded.ts"
import { invariants } from "../../src/testing/simulation/Journal.ts"
import { explain } from "../../src/testing/simulation/Report.ts"
import { amount } from "../support/amount.ts"

/** A run is seconds of work; the machine may have little to give. */
const timeout = 10 * 60_000
/** Threads at once, beside the other tests. */
const threads = Semaphore.makeUnsafe(2)
const root = new URL("../../", import.meta.url)

const runs = await Effect.runPromise(Effect.provide(recorded, NodeServices.layer))
/** To the end, a run is seconds of work, and there are as many as mutants. */
const withoutMutant = amount(3, Number.POSITIVE_INFINITY)
const caught = mutants.flatMap((mutant) => {
  const run = runs[mutant.name]
  return run === undefined
    ? []
    : [[mutant.name, [mutant.invariant, ...(mutant.or ?? [])].join(" or "), mutant, run] as const]
})

describe("mutants", () => {
  it("have names of their own, and break every invariant among them", () => {
    assert.strictEqual(new Set(mutants.map(({ name }) => name)).size, mutants.length)
    assert.deepStrictEqual(
      invariants.filter((invariant) => !mutants.some((mutant) => mutant.invariant === invariant)),
      []
    )
    assert.deepStrictEqual(
      Object.keys(runs).toSorted(),
      mutants.map(({ name }) => name).toSorted(),
      "each has its run in recorded.json"
    )
  })

  it("are refused where their patch fits nowhere, or twice", () => {
    const patch = { file: "a.ts", find: "one", replace: "two" }
    assert.deepStrictEqual(patched("no one here", patch), Result.succeed("no two here"))
    for (const [source, occurrences] of [
      ["nobody", 0],
      ["one by one", 2]
    ] as const) {
      const refused = patched(source, patch)
      assert(Result.isFailure(refused))
      assert.strictEqual(refused.failure.occurrences, occurrences)
    }
  })

  for (const { name, patches } of mutants) {
    it.effect(`${name} fits the sources`, () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        for (const patch of patches) {
          const source = yield* fs.readFileString(new URL(patch.file, root).pathname)
          assert.notStrictEqual(yield* Effect.fromResult(patched(source, patch)), source)
        }
      }).pipe(Effect.provide(NodeServices.layer))
    )
  }
})

describe("a mutant's recorded run", { concurrent: true }, () => {
  it.live.each(caught)(
    "catches %s by %s",
    ([, , mutant, run]) =>
      Effect.gen(function* () {
        const worker = yield* openWorker(yield* patchedCopy(mutant))
        const { violation } = yield* runIn(worker, jobOf(mutant, run))
        assert.isTrue(isCaughtBy(mutant, violation), `${violation?.invariant ?? "nothing"} ${violation?.detail ?? ""}`)
      }).pipe(Effect.scoped, threads.withPermits(1), Effect.provide(NodeServices.layer)),
    { timeout }
  )
})

describe("without a mutant", () => {
  it.live(
    "the recorded runs violate nothing",
    () =>
      Effect.gen(function* () {
        const worker = yield* openWorker(new URL("scripts/simulate.ts", root))
        for (const [name, , mutant, run] of caught.slice(0, withoutMutant)) {
          const result = yield* runIn(worker, jobOf(mutant, run))
          assert.isNull(result.violation, `${name}: ${explain(result, "npm run simulate --")}`)
        }
      }).pipe(Effect.scoped),
    { timeout: 2 * timeout }
  )
})
