/** The end of a process group: one, however many ask for it, and within the shortest grace that anybody gives. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { awaitGroupGone, looks } from "../../process/Leftovers.ts"
import { isGroupGone, signalGroup } from "../../process/ProcessInfo.ts"

/** Who is still there so long after SIGKILL waits in the kernel; it is said again each time that this has passed. */
const stuckMs = 10_000

export interface GroupEnd {
  /** SIGTERM now, SIGKILL to what is left after the grace; returns once nobody is left. */
  end(graceMs: number): Effect.Effect<void>
  /** The same, but leaves an end that is under way its own grace. */
  endRest(graceMs: number): Effect.Effect<void>
  /** SIGKILL now; false where somebody is left nevertheless. */
  readonly kill: Effect.Effect<boolean>
}

/** The work is done in `scope`, also when whoever asked for it is interrupted. */
export const make = Effect.fnUntraced(function* (group: number, scope: Scope.Scope) {
  const gone = yield* Deferred.make<void>()
  let deadline: number | undefined

  const killUntilGone = Effect.gen(function* () {
    yield* signalGroup(group, "SIGKILL")
    while (!(yield* awaitGroupGone(group, stuckMs))) {
      yield* Effect.logError(`Processes of group ${group} were killed and do not end`)
      yield* signalGroup(group, "SIGKILL")
    }
  })
  const isOver = Effect.gen(function* () {
    return (yield* isGroupGone(group)) || (yield* Clock.currentTimeMillis) >= (deadline ?? 0)
  })
  const ending = Effect.gen(function* () {
    yield* signalGroup(group, "SIGTERM")
    yield* Effect.repeat(isOver, { until: (over) => over, schedule: looks })
    if (!(yield* isGroupGone(group))) yield* killUntilGone
    yield* Deferred.succeed(gone, undefined)
  })

  const begin = (graceMs: number, hasten: boolean) =>
    Effect.gen(function* () {
      if (yield* Deferred.isDone(gone)) return
      const until = (yield* Clock.currentTimeMillis) + graceMs
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
      // Whoever waits is told in any case: nobody is left to look again.
      yield* Deferred.succeed(gone, undefined)
      return ended
    })
  }
  return it
})
