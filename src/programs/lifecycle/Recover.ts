/**
 * An operator's way out of `data_unavailable`. From the archive or from nothing it is a change of the row; from a
 * snapshot it is a rehost onto a volume that Fly makes of the newest one, whose loss is what was written after it.
 */
import * as Effect from "effect/Effect"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { FlyError, NotFound } from "../../services/fly/FlyError.ts"
import { rehost } from "./Rehost.ts"

/** Null where another operation came between. */
export const recoverFromSnapshot = Effect.fn("recoverFromSnapshot")(function* (view: ProjectView) {
  const fly = yield* Fly
  const volumeId = view.machine?.volumeId
  const snapshots = volumeId == null ? [] : yield* fly.listSnapshots(volumeId)
  const newest = snapshots.toSorted((a, b) => b.createdAt - a.createdAt)[0]
  if (newest === undefined) {
    return yield* new FlyError({
      operation: "listSnapshots",
      reason: new NotFound({ detail: "Fly has no snapshot of the project's volume" })
    })
  }
  const outcome = yield* rehost(view, {
    reason: `recovered from snapshot ${newest.id}`,
    source: { snapshotId: newest.id },
    force: true
  })
  return outcome._tag === "Rehosted" ? outcome.view : null
})
