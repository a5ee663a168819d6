/**
 * `npm run simulate`: seeds of the deterministic simulation, spread over the cores. Progress goes to stderr; stdout has
 * what was found. Exit 1 where an invariant was violated.
 */
import { availableParallelism } from "node:os"
import { isMainThread, parentPort } from "node:worker_threads"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { runMain } from "../src/cli/RunMain.ts"
import { type Mode, modes } from "../src/testing/simulation/Profile.ts"
import { explain, summaryOf, totals } from "../src/testing/simulation/Report.ts"
import { simulate, type SimulationResult } from "../src/testing/simulation/Simulation.ts"
import { mutants } from "./mutants/Mutants.ts"
import { patchedCopy } from "./mutants/PatchedCopy.ts"
import { type Job, openWorker, runIn } from "./SimulationThread.ts"

class Violated extends Schema.TaggedError<Violated>()("Violated", { count: Schema.Int }) {
  override get message() {
    return `${this.count} runs violated an invariant`
  }
}

const serveJobs = (): void => {
  // Every tagged error would otherwise collect a stack that nobody reads.
  Error.stackTraceLimit = 0
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.on("message", (job: Job) => parentPort?.postMessage(simulate(job)))
}

/** At most so often, so that a log is not flooded. */
const progressEveryMs = 2_000

/** Seeds that a mutant is looked for in. */
const caughtWithin = 200

/** What a run depends on beside its seed. */
const usual = { days: 2, instances: 3, intervals: 10, projects: 12 }
const sizes = ["days", "instances", "intervals", "projects"] as const

/** What has to be said to get a run of that size. */
const flagsOf = (given: typeof usual): string =>
  sizes.map((name) => (given[name] === usual[name] ? "" : ` --${name} ${given[name]}`)).join("")

interface Runs {
  readonly jobs: ReadonlyArray<Job>
  readonly workers: number
  readonly program: URL
  /** How to begin a command that replays one of them. */
  readonly command: string
  readonly untilViolated: boolean
}

const runAll = ({ command, jobs, program, untilViolated, workers }: Runs) =>
  Effect.gen(function* () {
    const found = yield* Deferred.make<void>()
    const results: Array<SimulationResult> = []
    let next = 0
    let toldAt = 0
    const work = Effect.gen(function* () {
      const worker = yield* openWorker(program)
      for (;;) {
        const job = jobs[next++]
        if (job === undefined) return
        const result = yield* runIn(worker, job)
        results.push(result)
        if (result.violation !== null) yield* Console.error(explain(result, command))
        if (result.violation !== null && untilViolated) yield* Deferred.succeed(found, undefined)
        const now = yield* Clock.currentTimeMillis
        if (now - toldAt < progressEveryMs && results.length < jobs.length) continue
        toldAt = now
        const violated = results.filter(({ violation }) => violation !== null).length
        yield* Console.error(`${results.length} of ${jobs.length} runs, ${violated} violated`)
      }
    }).pipe(Effect.scoped)
    yield* Effect.all(
      Array.from({ length: workers }, () => work),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.raceFirst(Deferred.await(found)))
    return results.toSorted((a, b) => a.seed - b.seed || (a.mode < b.mode ? -1 : 1))
  })

const simulateCommand = Command.make(
  "simulate",
  {
    seeds: Flag.Int("seeds").pipe(Flag.withDescription("How many seeds (25; of a mutant 200)"), Flag.optional),
    from: Flag.Int("from").pipe(Flag.withDescription("The first of them"), Flag.withDefault(1)),
    seed: Flag.Int("seed").pipe(Flag.withDescription("This seed alone, as it was"), Flag.optional),
    days: Flag.Finite("days").pipe(Flag.withDescription("Simulated days of use"), Flag.withDefault(usual.days)),
    instances: Flag.Int("instances").pipe(
      Flag.withDescription("Control-plane instances"),
      Flag.withDefault(usual.instances)
    ),
    projects: Flag.Int("projects").pipe(Flag.withDescription("Projects in use"), Flag.withDefault(usual.projects)),
    mode: Flag.Literals("mode", [...modes, "both"]).pipe(
      Flag.withDescription(
        "safety: faults never end; liveness: then they end, and all must come to rest; both: the same"
      ),
      Flag.withDefault("both")
    ),
    intervals: Flag.Finite("intervals").pipe(
      Flag.withDescription("Periods of the background loops, in multiples of the defaults"),
      Flag.withDefault(usual.intervals)
    ),
    mutant: Flag.Literals("mutant", ["list", ...mutants.map(({ name }) => name)]).pipe(
      Flag.withDescription("With this deliberate defect, until it is found; list: each with the promise it breaks"),
      Flag.optional
    ),
    workers: Flag.Int("workers").pipe(Flag.withDescription("Threads"), Flag.withDefault(availableParallelism())),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("The summary as JSON, alone on the last line"),
      Flag.withDefault(false)
    )
  },
  Effect.fn("simulate")(function* (flags) {
    const begun = yield* Clock.currentTimeMillis
    const mutated = Option.getOrNull(flags.mutant)
    if (mutated === "list") {
      for (const { invariant, name } of mutants) yield* Console.log(`${name} ${invariant}`)
      return
    }
    const mutant = mutants.find(({ name }) => name === mutated)
    const seeds = Option.getOrElse(flags.seeds, () => (mutant === undefined ? 25 : caughtWithin))
    const first = Option.getOrElse(flags.seed, () => flags.from)
    const count = Option.isSome(flags.seed) ? 1 : seeds
    // A seed's run is the same in both modes until the faults end: one run looks at both.
    const mode: Mode = flags.mode === "both" ? "liveness" : flags.mode
    const { days, instances, intervals, projects } = flags
    const jobs = Array.from({ length: count }, (_, at): Job => ({
      seed: first + at,
      mode,
      days,
      instances,
      intervals,
      projects,
      focus: mutant?.focus ?? {}
    }))
    const results = yield* runAll({
      jobs,
      workers: Math.max(1, Math.min(flags.workers, jobs.length)),
      program: mutant === undefined ? new URL(import.meta.url) : yield* patchedCopy(mutant),
      command:
        (mutant === undefined ? "npm run simulate --" : `npm run simulate -- --mutant ${mutant.name}`) +
        flagsOf({ days, instances, intervals, projects }),
      untilViolated: mutant !== undefined
    })
    const summary = summaryOf(results, (yield* Clock.currentTimeMillis) - begun)
    if (flags.json) yield* Console.log(JSON.stringify(summary))
    else {
      for (const [name, total] of totals(results)) yield* Console.log(`${String(total).padStart(10)}  ${name}`)
      for (const { hash, mode, seed } of count === 1 ? results : []) yield* Console.log(`seed ${seed} ${mode} ${hash}`)
      yield* Console.log(
        `${summary.seeds} seeds, ${summary.simulated_days} simulated days, ${summary.violations.length} violations, ` +
          `${(summary.wall_ms / 1_000).toFixed(1)} s`
      )
    }
    if (summary.violations.length > 0) return yield* new Violated({ count: summary.violations.length })
  }, Effect.scoped)
).pipe(Command.withDescription("The deterministic simulation of the control plane"))

if (isMainThread) {
  const main = Command.run(simulateCommand, { version: "1" }).pipe(Effect.provide(NodeServices.layer))
  runMain(main, { name: "simulate", server: false })
} else serveJobs()
