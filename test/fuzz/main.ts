/**
 * `npm run fuzz -- [--inputs N] [--seed N] [--target NAME] [--path P] [--json]`: hostile input for everything that takes
 * input, 100,000 over all targets unless told otherwise. Ends with 1 where something broke; its seed and path bring that
 * input back.
 */
import { parseArgs } from "node:util"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { runMain } from "../../src/cli/RunMain.ts"
import type { FuzzTarget, Outcome } from "./FuzzTarget.ts"
import { targets } from "./Targets.ts"

const defaultInputs = 100_000

const whole = (text: string | undefined, otherwise: number): number =>
  text === undefined ? otherwise : /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN

const { values: flags } = parseArgs({
  options: {
    inputs: { type: "string" },
    seed: { type: "string" },
    target: { type: "string", multiple: true },
    path: { type: "string" },
    json: { type: "boolean", default: false }
  }
})

/** How it went, in a line or some. */
const describe = ({ finding, inputs, target }: Outcome, ms: number): string => {
  const line = `${target.padEnd(16)} ${String(inputs).padStart(8)} inputs ${String(ms).padStart(8)} ms`
  if (finding === null) return `${line}   ok`
  const again = `npm run fuzz -- --target ${target} --seed ${finding.seed} --path ${finding.path}`
  return `${line}   BROKEN\n  ${finding.detail}\n  input: ${finding.input}\n  again: ${again}`
}

class FuzzFailed extends Schema.TaggedError<FuzzFailed>()("FuzzFailed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const main = Effect.gen(function* () {
  const seed = whole(flags.seed, yield* Random.nextIntBetween(1, 2 ** 31 - 1))
  const inputs = whole(flags.inputs, defaultInputs)
  const unknown = flags.target?.filter((name) => targets.every((target) => target.name !== name)) ?? []
  const chosen = flags.target === undefined ? targets : targets.filter(({ name }) => flags.target?.includes(name))
  if (Number.isNaN(seed) || Number.isNaN(inputs) || inputs < 1 || unknown.length > 0) {
    const all = targets.map(({ name }) => name).join(", ")
    return yield* new FuzzFailed({ detail: `--inputs and --seed are whole numbers, --target one of ${all}` })
  }
  if (flags.path !== undefined && chosen.length !== 1) {
    return yield* new FuzzFailed({ detail: "--path is of one --target" })
  }
  const shares = chosen.reduce((sum, { share }) => sum + share, 0)
  const log = flags.json ? Console.error : Console.log
  yield* log(`seed ${seed}`)
  const began = yield* Clock.currentTimeMillis
  const outcomes = yield* Effect.forEach(chosen, (target: FuzzTarget) =>
    Effect.gen(function* () {
      const from = yield* Clock.currentTimeMillis
      const share = Math.ceil((inputs * target.share) / shares)
      const outcome = yield* target.run({ inputs: share, seed, path: flags.path })
      const ms = (yield* Clock.currentTimeMillis) - from
      yield* log(describe(outcome, ms))
      return { ...outcome, ms }
    })
  )
  const findings = outcomes.flatMap(({ finding }) => (finding === null ? [] : [finding]))
  const total = outcomes.reduce((sum, outcome) => sum + outcome.inputs, 0)
  const wall = (yield* Clock.currentTimeMillis) - began
  yield* log(`${total} inputs in ${Math.round(wall / 1000)} s, ${findings.length} findings`)
  if (flags.json) {
    const of = outcomes.map(({ finding, inputs, ms, target }) => ({ target, inputs, ms, ok: finding === null }))
    yield* Console.log(
      JSON.stringify({ ok: findings.length === 0, seed, inputs: total, wall_ms: wall, targets: of, findings })
    )
  }
  if (findings.length > 0) {
    return yield* new FuzzFailed({ detail: `${findings.length} of ${chosen.length} targets broke` })
  }
})

runMain(main, { name: "fuzz", server: false })
