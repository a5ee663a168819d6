/**
 * The one driver of all background loops. A loop is a reconciler: no input, idempotent, periodic from a random offset
 * and woken explicitly; the next pass is the retry. At most one pass runs at a time here and, where it has a lock, in
 * the whole plane, which runs one in each period, however many instances it has. Knows nothing of what a pass does.
 *
 * A forked fiber fails silently, so nothing leaves a pass: failures and defects are logged, counted and shown.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import type { TaskLock } from "../../services/locks/Locks.ts"
import { Locks } from "../../services/locks/Locks.ts"
import { Plane } from "../../services/db/Plane.ts"
import { FlyPriority } from "../../services/fly/Fly.ts"
import { brief } from "../lifecycle/Steps.ts"
import type { LoopReport } from "./LoopStatus.ts"
import type { LoopName } from "./Signals.ts"
import { Signals } from "./Signals.ts"

export interface LoopOptions<E, R> {
  readonly name: LoopName
  readonly everyMs: number
  /** A pass that takes longer is ended and counted as failed. */
  readonly limitMs: number
  /** Null: every instance runs it. */
  readonly lock: TaskLock | null
  /** Run at once when the instance starts, rather than after a random share of the period. */
  readonly atOnce: boolean
  readonly run: Effect.Effect<unknown, E, R>
}

const passes = Metric.counter("valet_loop_passes", { incremental: true, description: "Passes that ended, by outcome" })
const duration = Metric.timer("valet_loop_duration")

const idle = (name: LoopName): LoopReport => ({
  name,
  running: false,
  runs: 0,
  failures: 0,
  lastRunAt: null,
  lastDurationMs: null,
  lastError: null,
  nextRunAt: null
})

/** Of the period, so that an instance's own next pass never comes a moment too early for its last booking. */
const bookedShare = 0.9

/** A poke that comes during a pass, or too soon behind one, waits for this long: a storm of pokes is one pass. */
const minimumGapMs = 250

export const loop = Effect.fnUntraced(function* <E, R>(options: LoopOptions<E, R>) {
  const locks = yield* Locks
  const signals = yield* Signals
  const plane = yield* Plane
  const report = yield* Ref.make(idle(options.name))
  const ended = (outcome: string) => Metric.withAttributes(passes, { loop: options.name, outcome })
  const [done, elsewhere, failures] = [ended("done"), ended("held elsewhere"), ended("failed")]
  const timed = Metric.withAttributes(duration, { loop: options.name })
  const locked = options.lock === null ? Effect.asSome(options.run) : options.run.pipe(locks.withTaskLock(options.lock))
  /** What is due by time is the whole plane's, whichever instance comes first; a database that is away is the pass's. */
  const isDue =
    options.lock === null
      ? Effect.succeed(true)
      : plane
          .book({
            bucket: `loop:${options.name}`,
            intervalMs: options.everyMs * bookedShare,
            burst: 1,
            reserve: 0,
            maxWaitMs: 0
          })
          .pipe(
            Effect.exit,
            Effect.map((exit) => Exit.isFailure(exit) || exit.value !== null)
          )
  const pass = Effect.gen(function* () {
    const begun = yield* Clock.currentTimeMillis
    yield* Ref.update(report, (last) => ({ ...last, running: true }))
    const exit = yield* locked.pipe(
      Effect.timeout(options.limitMs),
      Effect.withSpan(`loop.${options.name}`),
      Effect.provideService(FlyPriority, "background"),
      Effect.exit
    )
    const endedAt = yield* Clock.currentTimeMillis
    if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) {
      yield* Ref.update(report, (last) => ({ ...last, running: false }))
      return
    }
    const failed = Exit.isFailure(exit)
    const skipped = Exit.isSuccess(exit) && Option.isNone(exit.value)
    if (failed) yield* Effect.logError(`loop ${options.name} failed`, exit.cause)
    yield* Metric.update(failed ? failures : skipped ? elsewhere : done, 1)
    if (!skipped) yield* Metric.update(timed, Duration.millis(endedAt - begun))
    yield* Ref.update(report, (last): LoopReport => ({
      name: options.name,
      running: false,
      runs: last.runs + (skipped ? 0 : 1),
      failures: last.failures + (failed ? 1 : 0),
      lastRunAt: skipped ? last.lastRunAt : endedAt,
      lastDurationMs: skipped ? last.lastDurationMs : endedAt - begun,
      lastError: failed ? brief(exit.cause) : skipped ? last.lastError : null,
      nextRunAt: endedAt + options.everyMs
    }))
  })
  const leftToAnother = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    yield* Metric.update(elsewhere, 1)
    yield* Ref.update(report, (last) => ({ ...last, nextRunAt: now + options.everyMs }))
  })
  // Several instances that start together must not run in step.
  const offset = Math.floor((yield* Random.next) * options.everyMs)
  /** Whether it was a poke that ended it. */
  const pause = (ms: number) => Effect.map(signals.wait(options.name).pipe(Effect.timeoutOption(ms)), Option.isSome)
  const turns = Effect.gen(function* () {
    let poked = options.atOnce || (yield* pause(offset))
    for (;;) {
      if (poked || (yield* isDue)) yield* Effect.andThen(pass, Effect.sleep(minimumGapMs))
      else yield* leftToAnother
      poked = yield* pause(options.everyMs)
    }
  })
  yield* turns.pipe(
    Effect.annotateLogs({ loop: options.name }),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logFatal(`loop ${options.name} ended`, cause)
    ),
    Effect.forkScoped
  )
  const current: Effect.Effect<LoopReport> = Ref.get(report)
  return { current }
})
