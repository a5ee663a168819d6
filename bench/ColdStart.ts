/** From a client's connection to its first answer, where the project's server is started for it. */
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { OrchestratorStatus } from "../src/contract/OrchestratorStatus.ts"
import { type Bundle, ensureBundle } from "../src/local/Bundle.ts"
import { type Bench, BenchFailed, failed, type Needs } from "./harness/Bench.ts"
import { rested, run, spawn } from "./harness/Pinned.ts"
import { alternate, figure } from "./harness/Rounds.ts"

/** How many at once, how often, and how many either side has started before, one by one: an orchestrator runs for months. */
interface Crowd {
  readonly count: number
  readonly rounds: number
  readonly before: number
}

const full: ReadonlyArray<Crowd> = [
  { count: 1, rounds: 9, before: 20 },
  { count: 25, rounds: 5, before: 20 },
  { count: 100, rounds: 3, before: 20 }
]
const quick: ReadonlyArray<Crowd> = [
  { count: 1, rounds: 3, before: 3 },
  { count: 25, rounds: 1, before: 3 }
]

const script = (name: string) => fileURLToPath(new URL(`cold-start/${name}.ts`, import.meta.url))
const noFolder = failed("no temporary folder")
const warmLimit = "3 minutes"

/** A script of this bench that tells milliseconds. */
const milliseconds = (name: string, args: ReadonlyArray<string>) =>
  run({ name, core: "any", command: [process.execPath, script(name), ...args] }).pipe(
    Effect.map(({ out }) => ({ values: { ms: Number(out) }, generatorCpu: null }))
  )

const temporary = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "valet-bench-" }), noFolder)
)

const bare = ({ projectServer }: Bundle, { before, count }: Crowd) =>
  Effect.scoped(
    Effect.flatMap(temporary, (folder) => milliseconds("Bare", [projectServer, folder, String(count), String(before)]))
  )

const Ready = Schema.fromJsonString(Schema.Struct({ url: Schema.String }))

const asJson = (url: string) =>
  Effect.tryPromise({
    try: () => fetch(url, { headers: { accept: "application/json" } }).then((answer) => answer.json()),
    catch: failed("status of the orchestrator")
  })

/** Until so many are ready. */
const warmed = (url: string, count: number) =>
  asJson(`${url}/status`).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(OrchestratorStatus)),
    Effect.mapError(failed("status of the orchestrator")),
    Effect.filterOrFail(
      ({ totals }) => totals.warm_servers >= count,
      ({ totals }) => new BenchFailed({ detail: `${totals.warm_servers} of ${count} warm servers are ready` })
    ),
    Effect.retry(Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: warmLimit })))
  )

const orchestrator = (bundle: Bundle, { before, count }: Crowd, warm: boolean) =>
  Effect.gen(function* () {
    const dataDir = yield* temporary
    const kept = warm ? Math.max(count, before) : 0
    const limits = ["--max-servers", "1000", "--warm-servers", String(kept), "--stop-grace", "1"]
    const valet = yield* spawn({
      name: "valet orchestrator",
      core: "any",
      command: [
        process.execPath,
        bundle.valet,
        "orchestrator",
        "--port",
        "0",
        "--data-dir",
        dataDir,
        "--json",
        ...limits
      ]
    })
    const { url } = yield* Effect.mapError(Schema.decodeEffect(Ready)(yield* valet.line), failed("valet orchestrator"))
    const { port } = new URL(url)
    const settled = warm ? Effect.andThen(warmed(url, kept), Effect.sleep(rested)) : Effect.void
    yield* settled
    for (let at = 0; at < before; at++) yield* milliseconds("Ask", [port, "1", `before${at}-`])
    yield* settled
    return yield* milliseconds("Ask", [port, String(count), "p"])
  }).pipe(Effect.scoped)

export const coldStart: Bench = {
  name: "cold-start",
  summary: "the orchestrator: from connection to first answer, server spawned or claimed from the warm ones",
  run: (options) =>
    Effect.gen(function* () {
      const bundle = yield* Effect.mapError(ensureBundle, failed("bundle"))
      const figures = yield* Effect.forEach(options.quick ? quick : full, (each) =>
        Effect.gen(function* () {
          const { count, rounds } = each
          const crowd = count === 1 ? "one" : `${count} at once, the last`
          const found = yield* alternate<"ms", BenchFailed, Needs>(`cold start, ${crowd}`, rounds, [
            { name: "bare spawn", round: bare(bundle, each) },
            { name: "spawned", round: orchestrator(bundle, each, false) },
            { name: "warm", round: orchestrator(bundle, each, true) }
          ])
          const base = { name: "bare spawn", series: found.of("bare spawn", "ms") }
          const of = (name: string, atMost: number) =>
            figure({ name: `${crowd}, ${name}`, unit: "ms", series: found.of(name, "ms"), base, goal: { atMost } })
          return [of("spawned", 1.15), of("warm", 0.2)]
        })
      )
      return figures.flat()
    })
}
