/**
 * Limits on many waits by one timer: a request that is answered in time, as nearly all are, costs neither a timer nor a
 * fiber of its own.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

export interface Deadline {
  /** From now on it has this long, in milliseconds; 0: for ever. */
  extend(limitMs: number): void
  end(): void
}

export interface Deadlines {
  /** Calls `expired` at most once, and up to `coarseMs` late. */
  start(limitMs: number, expired: () => void): Deadline
}

/** Limits of seconds need no more. */
export const coarseMs = 250

/** `beside` is called as often as the deadlines are looked at. */
export const make = (beside: () => void): Effect.Effect<Deadlines, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const nowMs = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
    const open = new Map<Deadline, { due: number; readonly expired: () => void }>()
    const look = () => {
      const now = nowMs()
      for (const [deadline, { due, expired }] of open) {
        if (due > now) continue
        open.delete(deadline)
        expired()
      }
      beside()
    }
    yield* Effect.sync(look).pipe(
      Effect.tapCause((cause) => Effect.logError("a deadline could not be kept", cause)),
      Effect.ignoreCause,
      Effect.repeat(Schedule.spaced(coarseMs)),
      Effect.forkScoped
    )
    const dueIn = (limitMs: number) => (limitMs === 0 ? Number.POSITIVE_INFINITY : nowMs() + limitMs)
    return {
      start(limitMs, expired) {
        const entry = { due: dueIn(limitMs), expired }
        const deadline: Deadline = {
          extend: (limitMs) => {
            entry.due = dueIn(limitMs)
          },
          end: () => void open.delete(deadline)
        }
        open.set(deadline, entry)
        return deadline
      }
    }
  })
