/** Threads that run simulations, one job after the other. */
import { Worker } from "node:worker_threads"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SimulationOptions, SimulationResult } from "../src/testing/simulation/Simulation.ts"

export type Job = Omit<SimulationOptions, "alterations" | "profile" | "tell">

export class WorkerFailed extends Schema.TaggedError<WorkerFailed>()("WorkerFailed", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** `program`: the URL of `simulate.ts`, or of a mutant's copy of it. The thread ends with the scope. */
export const openWorker = (program: URL) =>
  Effect.acquireRelease(
    Effect.sync(() => new Worker(program)),
    (worker) => Effect.promise(() => worker.terminate())
  )

/** One job at a time. */
export const runIn = (worker: Worker, job: Job): Effect.Effect<SimulationResult, WorkerFailed> =>
  Effect.callback((resume) => {
    const onError = (error: unknown) => {
      worker.off("message", onMessage)
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
