/**
 * `npm run bench -- [NAME] [--quick] [--json] [--save]`: how fast it is, beside its bare limit and its peers in the same
 * run on the same machine. Progress goes to stderr. Exit 1 where a bench could not be run; a missed goal is a result.
 */
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { runMain } from "../src/cli/RunMain.ts"
import { benches } from "./Benches.ts"
import { type Bench, BenchFailed, failed } from "./harness/Bench.ts"
import { machine } from "./harness/Machine.ts"
import * as Measured from "./harness/Measured.ts"
import { record, result, table } from "./harness/Report.ts"

const results = fileURLToPath(new URL("results/", import.meta.url))
const readme = fileURLToPath(new URL("../README.md", import.meta.url))

interface Options {
  readonly quick: boolean
  readonly json: boolean
  readonly save: boolean
}

const keep = (name: string, kept: ReturnType<typeof record>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* fs.makeDirectory(results, { recursive: true })
    yield* fs.writeFileString(`${results}${name}.json`, `${JSON.stringify(kept, null, 2)}\n`)
    const runs = yield* Measured.read(
      results,
      benches.map((bench) => bench.name)
    )
    yield* fs.writeFileString(readme, Measured.into(yield* fs.readFileString(readme), runs))
  })

const perform = (bench: Bench, { json, quick, save }: Options) =>
  Effect.gen(function* () {
    const where = yield* machine
    yield* Console.error(`${bench.name}: ${bench.summary}`)
    if (!where.pinned) yield* Console.error(`not pinned: ${availableParallelism()} core, or no taskset`)
    const figures = yield* bench.run({ quick })
    yield* (json ? Console.error : Console.log)(`\n${bench.name}\n${table(figures)}\n`)
    if (save) {
      const at = DateTime.formatIso(yield* DateTime.now)
      const kept = record(bench.name, where, figures, at, `npm run bench -- ${bench.name}${quick ? " --quick" : ""}`)
      yield* Effect.mapError(keep(bench.name, kept), failed("the result can't be saved"))
    }
    return result(bench.name, where, figures)
  }).pipe(Effect.scoped)

const bench = Command.make(
  "bench",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription(`One of ${benches.map(({ name }) => name).join(", ")}; all where absent`),
      Argument.optional
    ),
    quick: Flag.Boolean("quick").pipe(
      Flag.withDescription("Less exact, each in less than a minute"),
      Flag.withDefault(false)
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("A line of JSON for each bench, the last one alone on the last line"),
      Flag.withDefault(false)
    ),
    save: Flag.Boolean("save").pipe(
      Flag.withDescription("Keep the run in bench/results and README"),
      Flag.withDefault(false)
    )
  },
  Effect.fn("bench")(function* ({ name, ...options }) {
    const wanted = Option.getOrNull(name)
    const chosen = benches.filter((bench) => wanted === null || bench.name === wanted)
    if (chosen.length === 0) {
      const known = benches.map(({ name, summary }) => `\n  ${name.padEnd(12)}${summary}`).join("")
      return yield* new BenchFailed({ detail: `there is no bench ${wanted}:${known}` })
    }
    for (const bench of chosen) {
      const found = yield* perform(bench, options)
      if (options.json) yield* Console.log(JSON.stringify(found))
    }
  })
).pipe(Command.withDescription("Measures Valet beside its bare limit and its peers, in the same run"))

runMain(Command.run(bench, { version: "1" }).pipe(Effect.provide(NodeServices.layer)), { name: "bench", server: false })
