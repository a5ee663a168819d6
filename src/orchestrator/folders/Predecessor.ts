/** The children of an orchestrator that was killed: found by their marks and by what their environment holds, and ended. */
import * as Effect from "effect/Effect"
import { havingInEnvironment, isGroupGone } from "../../process/ProcessInfo.ts"
import { endGroup, endStrays, isGroupOf } from "../../process/Leftovers.ts"
import type { MarkFolder } from "../../process/MarkFolder.ts"

/**
 * Pids of what can't be ended, empty if all is gone. `entry` is `NAME=value` in the environment of all children of this
 * folder's orchestrators; it also finds whoever left the group or was never written down.
 */
export const endChildren = Effect.fn("Predecessor.endChildren")(function* (
  children: MarkFolder,
  entry: string,
  graceMs: number
) {
  const { marks, strangers } = yield* children.list
  if (strangers.length > 0) {
    yield* Effect.logWarning(
      `Damaged marks of children (${strangers.join(", ")}): their processes are looked for by their environment`
    )
  }
  const groups: Array<number> = []
  for (const mark of marks) if (yield* isGroupOf(mark, entry)) groups.push(mark.pid)
  // Also those whose mark is gone: their group is ended with them, if they lead it.
  const found = yield* havingInEnvironment(entry)
  for (const { pid, group } of found) if (pid === group && !groups.includes(group)) groups.push(group)
  if (groups.length > 0)
    yield* Effect.logWarning(`Ending servers of an orchestrator that was killed: ${groups.join(", ")}`)
  yield* Effect.forEach(groups, (group) => endGroup(group, graceMs), { concurrency: "unbounded", discard: true })

  const strays = yield* havingInEnvironment(entry)
  if (strays.length > 0) {
    yield* Effect.logWarning(`Ending processes that such servers started: ${strays.map(({ pid }) => pid).join(", ")}`)
  }
  yield* endStrays(strays, entry, graceMs)

  const left = new Set((yield* havingInEnvironment(entry)).map(({ pid }) => pid))
  for (const group of groups) if (!(yield* isGroupGone(group))) left.add(group)
  // Whoever is left stays written down.
  for (const mark of marks) if (!left.has(mark.pid)) yield* children.remove(mark)
  yield* Effect.forEach(strangers, children.removeStranger, { discard: true })
  return [...left]
})
