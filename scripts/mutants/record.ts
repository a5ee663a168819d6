/**
 * `node scripts/mutants/record.ts [name…]`: looks for the first seed that catches each mutant, by the invariant that it
 * is said to break, beginning with the one on record, and writes it down. What a change of the simulation makes needed.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { runMain } from "../../src/cli/RunMain.ts"
import { openWorker, runIn } from "../SimulationThread.ts"
import { isCaughtBy, type Mutant } from "./Mutant.ts"
import { mutants } from "./Mutants.ts"
import { patchedCopy } from "./PatchedCopy.ts"
import { jobOf, record, recorded, type Recorded } from "./Recorded.ts"

const search = (mutant: Mutant, runs: ReadonlyArray<Recorded>) =>
  Effect.gen(function* () {
    const worker = yield* openWorker(yield* patchedCopy(mutant))
    for (const run of runs) {
      const { violation } = yield* runIn(worker, jobOf(mutant, run))
      if (isCaughtBy(mutant, violation)) return run
      const found = violation === null ? "nothing" : `${violation.invariant} ${violation.detail}`
      yield* Console.error(`${mutant.name} ${run.seed}, ${run.days} days: ${found}`)
    }
    return null
  }).pipe(Effect.scoped)

const command = Command.make(
  "record",
  {
    names: Argument.String("name").pipe(Argument.variadic()),
    seeds: Flag.Int("seeds").pipe(Flag.withDescription("The last seed to look at"), Flag.withDefault(200)),
    days: Flag.Finite("days").pipe(Flag.withDescription("Simulated days of use"), Flag.withDefault(0.25))
  },
  Effect.fn("record")(function* ({ days, names, seeds }) {
    for (const mutant of mutants) {
      if (names.length > 0 && !names.includes(mutant.name)) continue
      const { [mutant.name]: before, ...others } = yield* recorded
      const anew = Array.from({ length: seeds }, (_, at): Recorded => ({ seed: at + 1, days }))
      const found = yield* search(mutant, before === undefined ? anew : [before, ...anew])
      yield* record(found === null ? others : { ...others, [mutant.name]: found })
      const where = found === null ? `not caught in ${seeds} seeds` : `${found.seed}, ${found.days} days`
      yield* Console.log(`${mutant.name} ${mutant.invariant} ${where}`)
    }
  })
)

runMain(Command.run(command, { version: "1" }).pipe(Effect.provide(NodeServices.layer)), {
  name: "record",
  server: false
})
