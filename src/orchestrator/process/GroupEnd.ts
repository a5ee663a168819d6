/** The end of a process and all that it started: one, however many ask for it, and within the shortest grace that anybody gives. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import { awaitGroupGone, endStrays, looks } from "../../process/Leftovers.ts"
import { havingInEnvironment, isGroupGone, signalGroup } from "../../process/ProcessInfo.ts"

/** Who is still there so long after SIGKILL waits in the kernel; it is said again each time that this has passed. */
const stuckMs = 10_000

/** For who left the group, and so did not hear that it is over. */
const strayGraceMs = 2_000

/** The clock on the wall may be set while somebody stops. */
const elapsedMs = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

export interface GroupEnd {
  /** SIGTERM now, SIGKILL to what is left after the grace; returns once nobody is left. */
  end(graceMs: number): Effect.Effect<void>
  /** The same, but leaves an end that is under way its own grace. */
  endRest(graceMs: number): Effect.Effect<void>
  /** SIGKILL now; false where somebody is left nevertheless. */
  readonly kill: Effect.Effect<boolean>
}

/**
 * `entry` is `NAME=value` in the environment of its members alone: whoever left the group is found by it where the system
 * has `/proc`. The work is done in `scope`, also when whoever asked for it is interrupted.
 */
export const make = Effect.fnUntraced(function* (group: number, entry: string, scope: Scope.Scope) {
  const fs = yield* FileSystem.FileSystem
  const gone = yield* Deferred.make<void>()
  let deadline: number | undefined

  const endAway = (graceMs: number) =>
    Effect.flatMap(havingInEnvironment(entry), (strays) => endStrays(strays, entry, graceMs)).pipe(
      Effect.provideService(FileSystem.FileSystem, fs)
    )
  const killUntilGone = Effect.gen(function* () {
    yield* signalGroup(group, "SIGKILL")
    while (!(yield* awaitGroupGone(group, stuckMs))) {
      yield* Effect.logError(`Processes of group ${group} were killed and do not end`)
      yield* signalGroup(group, "SIGKILL")
    }
  })
  const isOver = Effect.gen(function* () {
    return (yield* isGroupGone(group)) || (yield* elapsedMs) >= (deadline ?? 0)
  })
  const ending = Effect.gen(function* () {
    yield* signalGroup(group, "SIGTERM")
    yield* Effect.repeat(isOver, { until: (over) => over, schedule: looks })
    if (!(yield* isGroupGone(group))) yield* killUntilGone
    yield* endAway(strayGraceMs)
    yield* Deferred.succeed(gone, undefined)
  }).pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError(`Group ${group} is not ended`, cause)
    )
  )

  const begin = (graceMs: number, hasten: boolean) =>
    Effect.gen(function* () {
      if (yield* Deferred.isDone(gone)) return
      const until = (yield* elapsedMs) + graceMs
      if (deadline === undefined) {
        deadline = until
        yield* Effect.forkIn(ending, scope)
      } else if (hasten) deadline = Math.min(deadline, until)
    }).pipe(Effect.uninterruptible, Effect.andThen(Deferred.await(gone)))

  const it: GroupEnd = {
    end: (graceMs) => begin(graceMs, true),
    endRest: (graceMs) => begin(graceMs, false),
    kill: Effect.gen(function* () {
      if (yield* Deferred.isDone(gone)) return true
      yield* signalGroup(group, "SIGKILL")
      const ended = yield* awaitGroupGone(group, stuckMs)
      yield* endAway(0)
      // Whoever waits is told in any case: nobody is left to look again.
      yield* Deferred.succeed(gone, undefined)
      return ended
    })
  }
  return it
})
