import * as Result from "effect/Result"
import type { Draft, Op } from "./Draft.ts"
import { snapshotId } from "./Draft.ts"
import type { Snapshot, Volume } from "./FlyState.ts"
import { findVolume } from "./Find.ts"
import { precondition, refuse } from "./Refusal.ts"

export const takeSnapshot = (draft: Draft, volume: Volume): Snapshot => {
  const snapshot: Snapshot = {
    id: snapshotId(draft),
    app: volume.app,
    volumeId: volume.id,
    sizeGb: volume.sizeGb,
    createdAt: draft.now,
    retentionDays: volume.snapshotRetention
  }
  draft.state = { ...draft.state, snapshots: { ...draft.state.snapshots, [snapshot.id]: snapshot } }
  draft.actions.push({ _tag: "SnapshotTaken", snapshotId: snapshot.id, volumeId: volume.id })
  return snapshot
}

export const createSnapshot =
  (app: string, volumeId: string): Op<Snapshot> =>
  (draft) => {
    const found = findVolume(draft, app, volumeId)
    if (Result.isFailure(found)) return Result.fail(found.failure)
    const volume = found.success
    if (volume.state !== "created") return precondition(`volume is ${volume.state}`)
    if (draft.state.unreachableHosts.includes(volume.host))
      return refuse(503, "unavailable: volume host is unreachable")
    return Result.succeed(takeSnapshot(draft, volume))
  }

/** They outlive their volume, so that a deleted one still answers. */
export const listSnapshots =
  (app: string, volumeId: string): Op<ReadonlyArray<Snapshot>> =>
  (draft) => {
    const snapshots = Object.values(draft.state.snapshots).filter((it) => it.app === app && it.volumeId === volumeId)
    if (snapshots.length === 0 && draft.state.volumes[volumeId]?.app !== app) return refuse(404, "volume not found")
    return Result.succeed(snapshots.toSorted((a, b) => b.createdAt - a.createdAt))
  }
