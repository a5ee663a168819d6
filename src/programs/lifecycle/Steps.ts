/**
 * A lifecycle operation is a table of named steps, each with a limit and, where it changes the world, an undo. The
 * runner times them, ends one that exceeds its limit, and unwinds in reverse order when one fails or is interrupted.
 * What an owner that dies leaves behind is undone by whoever takes its lease over.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"

export interface Step<S, E, R> {
  readonly name: string
  readonly limitMs: number | ((state: S) => number)
  /** Doing it twice is doing it once. */
  readonly run: (state: S) => Effect.Effect<S, E, R>
  /** Undoes what `run` may have done, whether it succeeded, failed or was cut. Never fails; bounded by the runner. */
  readonly undo?: (state: S, cause: Cause.Cause<E | StepTimeout>) => Effect.Effect<void, never, R>
}

export class StepTimeout extends Schema.TaggedError<StepTimeout>()("StepTimeout", {
  operation: Schema.String,
  step: Schema.String,
  limitMs: Schema.Finite
}) {
  override get message() {
    return `${this.operation}: ${this.step} took longer than ${this.limitMs} ms`
  }
  get retryable(): boolean {
    return true
  }
}

/** Wraps every step: tests cut an operation at each one, or run each one twice. */
export const StepHook = Context.Reference<
  (operation: string, step: string) => <A, E, R>(run: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
>("valet/StepHook", { defaultValue: () => () => (run) => run })

/** An undo that takes longer is left to the next pass of recovery; an instance that stops has less time. */
const undoLimitMs = { failed: 15_000, interrupted: 2_000 } as const

export interface Done<S> {
  readonly state: S
  /** Milliseconds by step name, whole operation under `total`. */
  readonly timings: Readonly<Record<string, number>>
}

export const runSteps = <S, E, R>(
  operation: string,
  steps: ReadonlyArray<Step<S, E, R>>,
  initial: S
): Effect.Effect<Done<S>, E | StepTimeout, R> =>
  Effect.gen(function* () {
    const hook = yield* StepHook
    const begun = yield* Clock.currentTimeMillis
    const timings: Record<string, number> = {}
    const undos: Array<(cause: Cause.Cause<E | StepTimeout>) => Effect.Effect<void, never, R>> = []
    const unwind = (cause: Cause.Cause<E | StepTimeout>) =>
      Effect.forEach(undos.toReversed(), (undo) => undo(cause), { discard: true }).pipe(
        Effect.timeoutOrElse({
          duration: Cause.hasInterruptsOnly(cause) ? undoLimitMs.interrupted : undoLimitMs.failed,
          orElse: () => Effect.logWarning(`${operation}: undo took too long, left to recovery`)
        }),
        Effect.catchDefect((defect) => Effect.logError(`${operation}: undo died`, defect))
      )
    let state = initial
    const all = Effect.gen(function* () {
      for (const step of steps) {
        const before = state
        const undo = step.undo
        const limitMs = typeof step.limitMs === "number" ? step.limitMs : step.limitMs(before)
        const since = yield* Clock.currentTimeMillis
        // The undo sees the newest state: a step that succeeded has put what must be undone there.
        if (undo !== undefined) undos.push((cause) => undo(state, cause))
        state = yield* step.run(before).pipe(
          hook(operation, step.name),
          Effect.timeoutOrElse({
            duration: limitMs,
            orElse: () => Effect.fail(new StepTimeout({ operation, step: step.name, limitMs }))
          }),
          Effect.withSpan(`${operation}.${step.name}`)
        )
        timings[step.name] = (yield* Clock.currentTimeMillis) - since
      }
    })
    yield* all.pipe(
      Effect.onExit((exit) => (Exit.isFailure(exit) ? Effect.uninterruptible(unwind(exit.cause)) : Effect.void))
    )
    timings["total"] = (yield* Clock.currentTimeMillis) - begun
    return { state, timings }
  })

/** One line for a row's `last_error` and an event: no stack, no secret. */
export const brief = (cause: Cause.Cause<unknown>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "interrupted"
  const error = Cause.squash(cause)
  return (error instanceof Error ? error.message : String(error)).slice(0, 500)
}
