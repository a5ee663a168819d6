/** A small share of `npm run fuzz`, the same in every run. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import { pure, target } from "./FuzzTarget.ts"
import { targets } from "./Targets.ts"
import { Violation } from "./Violation.ts"

const seed = 20_261_122

describe("hostile input", () => {
  it.live.each(targets.map((target) => [target.name, target] as const))(
    "%s",
    ([, { quick, run }]) =>
      Effect.gen(function* () {
        const { finding, inputs } = yield* run({ inputs: quick, seed, path: undefined })
        assert.isNull(finding)
        assert.isAbove(inputs, quick / 2)
      }),
    120_000
  )
})

/** Breaks for any text with a `b` in it. */
const breaks = (open: (text: string) => Effect.Effect<void, Violation>) =>
  target({
    name: "breaks",
    about: "a test's own",
    share: 1,
    quick: 1,
    arbitrary: fc.string(),
    open: Effect.succeed({
      check: (text: string) => (text.includes("b") ? open(text) : Effect.void),
      probe: Effect.void,
      secrets: () => ["hunter2"]
    })
  })

describe("the fuzz itself", () => {
  const plan = { inputs: 2_000, seed, path: undefined }

  it.live("shrinks what breaks, and its seed and path bring it back", () =>
    Effect.gen(function* () {
      const subject = pure({
        name: "no-b",
        about: "a test's own",
        share: 1,
        quick: 1,
        arbitrary: fc.string(),
        check: (text) => (text.includes("b") ? "a b" : undefined)
      })
      const { finding } = yield* subject.run(plan)
      assert.deepInclude(finding, { input: '"b"', detail: "a b", seed })
      const again = yield* subject.run({ ...plan, inputs: 1, path: finding?.path })
      assert.deepInclude(again.finding, { input: '"b"', detail: "a b" })
    })
  )

  it.live.each<readonly [string, (text: string) => Effect.Effect<void, Violation>, RegExp]>([
    ["a failed check", () => Effect.fail(new Violation({ detail: "wrong" })), /^wrong$/],
    ["a defect", () => Effect.die(new Error("broke")), /broke/],
    ["a secret in the log", () => Effect.logDebug("it is hunter2"), /^a secret in the log/],
    ["an error in the log", () => Effect.logError("it broke"), /^an error in the log/]
  ])("notices %s", ([, open, expected]) =>
    Effect.gen(function* () {
      const { finding } = yield* breaks(open).run(plan)
      assert.match(finding?.detail ?? "nothing", expected)
    })
  )
})
