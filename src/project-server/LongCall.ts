/**
 * A call that may take longer than an HTTP request should: it runs as one fiber of the server, whoever asks for it again
 * while it runs gets its progress, and its result waits for the next one who asks.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { InProgress } from "./ProtocolFailure.ts"

export interface Progress {
  phase: string
  bytes: number
}

export interface LongCall<A, E> {
  /** Calls with the same key are the same call. */
  readonly key: string
  readonly generation: number
  readonly progress: Progress
  readonly isDone: () => boolean
  /** Its result, or `InProgress` where it has none within `waitMs`. */
  result(waitMs: number): Effect.Effect<A, E | InProgress>
  /** Returns once it has ended and undone what it must. */
  readonly stop: Effect.Effect<void>
}

export const start = <A, E, R>(
  key: string,
  generation: number,
  scope: Scope.Scope,
  /** What those who wait are told when it is stopped. */
  superseded: Effect.Effect<never, E>,
  run: (progress: Progress) => Effect.Effect<A, E, R>
): Effect.Effect<LongCall<A, E>, never, R> =>
  Effect.gen(function* () {
    const progress: Progress = { phase: "starting", bytes: 0 }
    const done = yield* Deferred.make<A, E>()
    const fiber = yield* run(progress).pipe(
      Effect.tapCauseIf(
        (cause) => !Cause.hasInterrupts(cause),
        (cause) => Effect.logWarning(`${key} failed (${progress.phase})`, cause)
      ),
      Effect.onExit((exit) =>
        Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
          ? Deferred.completeWith(done, superseded)
          : Deferred.done(done, exit)
      ),
      // At once: a fiber that is interrupted before it began would undo and tell nothing.
      Effect.forkIn(scope, { startImmediately: true })
    )
    return {
      key,
      generation,
      progress,
      isDone: () => Deferred.isDoneUnsafe(done),
      result: (waitMs) =>
        Effect.suspend((): Effect.Effect<A, E | InProgress> => {
          const still = Effect.suspend(() =>
            Effect.fail(new InProgress({ phase: progress.phase, bytes: progress.bytes }))
          )
          return Deferred.isDoneUnsafe(done)
            ? Deferred.await(done)
            : waitMs === 0
              ? still
              : Deferred.await(done).pipe(Effect.timeoutOrElse({ duration: waitMs, orElse: () => still }))
        }),
      stop: Fiber.interrupt(fiber)
    }
  })
