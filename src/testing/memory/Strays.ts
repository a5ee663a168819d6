import { reached } from "../../domain/transitions/Rows.ts"
import type { Stray } from "./MemoryTables.ts"

/** One look at the ids that stand in no row: forgets the others, returns those seen twice and for long enough. */
export const lookAtStrays = (
  known: Map<string, Stray>,
  ids: ReadonlyArray<string>,
  minAgeMs: number,
  now: number
): ReadonlyArray<string> => {
  const seen = new Set(ids)
  for (const id of known.keys()) if (!seen.has(id)) known.delete(id)
  for (const id of seen) {
    const before = known.get(id)
    known.set(id, { firstSeen: before?.firstSeen ?? now, lastSeen: now, looks: (before?.looks ?? 0) + 1 })
  }
  return [...known]
    .filter(([, stray]) => stray.looks >= 2 && reached(stray.firstSeen + minAgeMs, stray.lastSeen))
    .map(([id]) => id)
    .toSorted()
}
