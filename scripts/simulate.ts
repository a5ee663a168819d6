/**
 * `npm run simulate`: seeds of the deterministic simulation, spread over the cores. Progress goes to stderr; stdout has
 * what was found. Exit 1 where an invariant was violated.
 */
import { availableParallelism } from "node:os"
import { isMainThread, parentPort, Worker } from "node:worker_threads"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { runMain } from "../src/cli/RunMain.ts"
import { type Mode, modes } from "../src/testing/simulation/Profile.ts"
import { explain, summaryOf, totals } from "../src/testing/simulation/Report.ts"
import { simulate, type SimulationOptions, type SimulationResult } from "../src/testing/simulation/Simulation.ts"

type Job = Omit<SimulationOptions, "alterations" | "profile" | "tell">

class WorkerFailed extends Schema.TaggedError<WorkerFailed>()("WorkerFailed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

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

/** One thread, which is sent one job after the other. */
const openWorker = Effect.acquireRelease(
  Effect.sync(() => new Worker(new URL(import.meta.url))),
  (worker) => Effect.promise(() => worker.terminate())
)

const runIn = (worker: Worker, job: Job): Effect.Effect<SimulationResult, WorkerFailed> =>
  Effect.callback((resume) => {
    const onError = (error: unknown) => {
      const detail = `seed ${job.seed} ${job.mode}: ${error instanceof Error ? error.message : String(error)}`
      resume(Effect.fail(new WorkerFailed({ detail })))
    }
    const onMessage = (result: SimulationResult) => {
      worker.off("error", onError)
      resume(Effect.succeed(result))
    }
    worker.once("error", onError)
    worker.once("message", onMessage)
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage(job)
  })

/** At most so often, so that a log is not flooded. */
const progressEveryMs = 2_000

const runAll = (jobs: ReadonlyArray<Job>, workers: number) =>
  Effect.gen(function* () {
    const results: Array<SimulationResult> = []
    let next = 0
    let toldAt = 0
    const work = Effect.gen(function* () {
      const worker = yield* openWorker
      for (;;) {
        const job = jobs[next++]
        if (job === undefined) return
        const result = yield* runIn(worker, job)
        results.push(result)
        if (result.violation !== null) yield* Console.error(explain(result, "npm run simulate --"))
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
    )
    return results.toSorted((a, b) => a.seed - b.seed || (a.mode < b.mode ? -1 : 1))
  })

const simulateCommand = Command.make(
  "simulate",
  {
    seeds: Flag.Int("seeds").pipe(Flag.withDescription("How many seeds"), Flag.withDefault(25)),
    from: Flag.Int("from").pipe(Flag.withDescription("The first of them"), Flag.withDefault(1)),
    seed: Flag.Int("seed").pipe(Flag.withDescription("This seed alone, as it was"), Flag.optional),
    days: Flag.Finite("days").pipe(Flag.withDescription("Simulated days of use"), Flag.withDefault(2)),
    instances: Flag.Int("instances").pipe(Flag.withDescription("Control-plane instances"), Flag.withDefault(3)),
    projects: Flag.Int("projects").pipe(Flag.withDescription("Projects in use"), Flag.withDefault(12)),
    mode: Flag.Literals("mode", [...modes, "both"]).pipe(
      Flag.withDescription("safety: faults never end; liveness: they end, and everything must come to rest"),
      Flag.withDefault("both")
    ),
    intervals: Flag.Finite("intervals").pipe(
      Flag.withDescription("Periods of the background loops, in multiples of the defaults"),
      Flag.withDefault(10)
    ),
    workers: Flag.Int("workers").pipe(Flag.withDescription("Threads"), Flag.withDefault(availableParallelism())),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("The summary as JSON, alone on the last line"),
      Flag.withDefault(false)
    )
  },
  Effect.fn("simulate")(function* (flags) {
    const begun = yield* Clock.currentTimeMillis
    const first = Option.getOrElse(flags.seed, () => flags.from)
    const count = Option.isSome(flags.seed) ? 1 : flags.seeds
    const chosen: ReadonlyArray<Mode> = flags.mode === "both" ? modes : [flags.mode]
    const { days, instances, intervals, projects } = flags
    const jobs = Array.from({ length: count }, (_, at) => first + at).flatMap((seed) =>
      chosen.map((mode): Job => ({ seed, mode, days, instances, intervals, projects }))
    )
    const results = yield* runAll(jobs, Math.max(1, Math.min(flags.workers, jobs.length)))
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
  })
).pipe(Command.withDescription("The deterministic simulation of the control plane"))

if (isMainThread) {
  const main = Command.run(simulateCommand, { version: "1" }).pipe(Effect.provide(NodeServices.layer))
  runMain(main, { name: "simulate", server: false })
} else serveJobs()
