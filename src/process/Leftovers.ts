/** Processes that a predecessor left running when it was killed: found again, ended, and nothing else. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { hasInEnvironment, isGroupGone, processes, signalGroup } from "./ProcessInfo.ts"
import type { ProcessMark } from "./ProcessMark.ts"
import { isAlive, markOf, terminate } from "./ProcessMark.ts"

/** From SIGKILL to the end: only what waits in the kernel for a disk or the network takes longer than a moment. */
const killedMs = 10_000

/** 5 ms at first, so that a quick end is seen at once; each look may read all of `/proc`. */
export const looks = Schedule.min([Schedule.exponential("5 millis", 1.5), Schedule.spaced("100 millis")])

/** True once nobody of the group is left, false after `withinMs`. */
export const awaitGroupGone = (group: number, withinMs: number): Effect.Effect<boolean> =>
  isGroupGone(group).pipe(
    Effect.repeat({ until: (gone) => gone, schedule: looks }),
    Effect.timeoutOrElse({ duration: withinMs, orElse: () => isGroupGone(group) })
  )

/** SIGTERM, and SIGKILL after the grace; at once where that is 0. False where somebody is still left. */
export const endGroup = (group: number, graceMs: number): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    if (graceMs > 0) {
      yield* signalGroup(group, "SIGTERM")
      if (yield* awaitGroupGone(group, graceMs)) return true
    }
    yield* signalGroup(group, "SIGKILL")
    return yield* awaitGroupGone(group, killedMs)
  })

/** Processes that left the group of the one that started them: each by itself. */
export const endStrays = Effect.fnUntraced(function* (
  strays: ReadonlyArray<{ readonly pid: number }>,
  entry: string,
  graceMs: number
) {
  yield* Effect.forEach(
    strays,
    ({ pid }) =>
      Effect.gen(function* () {
        const mark = yield* markOf(pid)
        if (mark !== null && (yield* hasInEnvironment(pid, entry))) yield* terminate(mark, graceMs)
      }),
    { concurrency: "unbounded", discard: true }
  )
})

/**
 * Is the group with this number still the one that the marked process began? `entry` is `NAME=value` in the environment
 * of its members.
 */
export const isGroupOf = Effect.fnUntraced(function* (mark: ProcessMark, entry: string) {
  if (yield* isAlive(mark)) return true
  if (yield* isGroupGone(mark.pid)) return false
  const rows = yield* processes
  // Its leader is gone, or the number is another's. A number is not given out again while a group has it: where members
  // can't be asked, a group without its leader is ours.
  if (rows === null) return (yield* markOf(mark.pid)) === null
  for (const row of rows) if (row.group === mark.pid && (yield* hasInEnvironment(row.pid, entry))) return true
  return false
})
