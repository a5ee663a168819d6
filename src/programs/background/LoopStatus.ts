/** What the background loops have done, for the status page and for metrics. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

export interface LoopReport {
  readonly name: string
  readonly running: boolean
  /** Passes that ended, and those of them that failed, since this instance started. */
  readonly runs: number
  readonly failures: number
  /** Milliseconds since the epoch; null before the first pass. */
  readonly lastRunAt: number | null
  readonly lastDurationMs: number | null
  /** Of the last pass; null where it succeeded. */
  readonly lastError: string | null
  readonly nextRunAt: number | null
}

export class LoopStatus extends Context.Service<
  LoopStatus,
  { readonly statuses: Effect.Effect<ReadonlyArray<LoopReport>> }
>()("valet/LoopStatus") {}
