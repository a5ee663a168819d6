/** Runs that catch each mutant: `scripts/mutants/recorded.json`, which `node scripts/mutants/record.ts` writes. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import type { Job } from "../SimulationThread.ts"
import type { Mutant } from "./Mutant.ts"

export const Recorded = Schema.Struct({
  seed: Schema.Int,
  /** Simulated days of use, before faults end. */
  days: Schema.Finite
})
export type Recorded = typeof Recorded.Type

/** The run, as the mutant is looked for. */
export const jobOf = ({ focus = {} }: Mutant, run: Recorded): Job => ({ ...run, mode: "liveness", focus })

const All = Schema.fromJsonString(Schema.Record(Schema.String, Recorded))

const file = Effect.flatMap(Path.Path, (path) => path.fromFileUrl(new URL("recorded.json", import.meta.url)))

export const recorded = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  return yield* Schema.decodeEffect(All)(yield* fs.readFileString(yield* file))
})

export const record = (all: Readonly<Record<string, Recorded>>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const lines = Object.entries(all)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { days, seed }]) => `  "${name}": { "seed": ${seed}, "days": ${days} }`)
    yield* fs.writeFileString(yield* file, `{\n${lines.join(",\n")}\n}\n`)
  })
