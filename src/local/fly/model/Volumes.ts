/** The operations on volumes. */
import * as Result from "effect/Result"
import type { Draft, Op } from "./Draft.ts"
import { putVolume, volumeId } from "./Draft.ts"
import { findApp, findVolume, unreachable } from "./Find.ts"
import type { Volume } from "./FlyState.ts"
import { hostIn, pickRegion } from "./Machines.ts"
import type { Refusal } from "./Refusal.ts"
import { invalid, precondition, refusal, refuse } from "./Refusal.ts"

export interface CreateVolumeInput {
  readonly name: string
  readonly region?: string
  readonly sizeGb?: number
  readonly fstype?: string
  readonly encrypted?: boolean
  readonly snapshotRetention?: number
  readonly autoBackup?: boolean
  /** Fly's default: not on a host that holds a volume of the same name already. */
  readonly requireUniqueZone?: boolean
  readonly sourceVolumeId?: string
  readonly snapshotId?: string
}

const defaultSizeGb = 3
const noHost = refusal(422, "could not find a candidate host", { code: "insufficient_capacity" })

interface Source {
  readonly sizeGb: number
  readonly region: string | undefined
  readonly avoid: ReadonlyArray<string>
  readonly from: { readonly volume: string } | { readonly snapshot: string } | null
}

const sourceOf = (draft: Draft, app: string, input: CreateVolumeInput): Result.Result<Source, Refusal> => {
  if (input.snapshotId !== undefined) {
    const snapshot = draft.state.snapshots[input.snapshotId]
    if (snapshot === undefined || snapshot.app !== app) return refuse(404, "snapshot not found")
    return Result.succeed({ sizeGb: snapshot.sizeGb, region: undefined, avoid: [], from: { snapshot: snapshot.id } })
  }
  if (input.sourceVolumeId !== undefined) {
    const source = draft.state.volumes[input.sourceVolumeId]
    if (source === undefined || source.app !== app || source.state === "pending_destroy") {
      return refuse(404, "source volume not found")
    }
    if (unreachable(draft.state, source.host)) return refuse(503, "unavailable: volume host is unreachable")
    // A fork is Fly's cure for a full host, so it never lands on the same one.
    return Result.succeed({
      sizeGb: source.sizeGb,
      region: source.region,
      avoid: [source.host],
      from: { volume: source.id }
    })
  }
  return Result.succeed({ sizeGb: 0, region: undefined, avoid: [], from: null })
}

export const createVolume =
  (app: string, input: CreateVolumeInput): Op<Volume> =>
  (draft) => {
    const owner = findApp(draft, app)
    if (Result.isFailure(owner)) return Result.fail(owner.failure)
    if (!/^[a-z0-9_]{1,30}$/.test(input.name)) {
      return invalid("name must be 1 to 30 lower case letters, digits or underscores")
    }
    const source = sourceOf(draft, app, input)
    if (Result.isFailure(source)) return Result.fail(source.failure)
    const sizeGb = input.sizeGb ?? (source.success.from === null ? defaultSizeGb : source.success.sizeGb)
    if (sizeGb < 1 || sizeGb > 500) return invalid("size_gb must be between 1 and 500")
    if (sizeGb < source.success.sizeGb) {
      return refuse(400, `volume size (${sizeGb} GiB) is smaller than the snapshot size`)
    }
    const region = pickRegion(draft, input.region ?? source.success.region)
    if (Result.isFailure(region)) return Result.fail(region.failure)
    const namesakes =
      input.requireUniqueZone === false
        ? []
        : Object.values(draft.state.volumes)
            .filter((it) => it.app === app && it.name === input.name && it.state !== "pending_destroy")
            .map((it) => it.host)
    const host = hostIn(draft, region.success, [...source.success.avoid, ...namesakes])
    if (host === "") return Result.fail(noHost)

    const { volumeCreateMs, volumeCopyMs } = draft.params.delays
    const copying = source.success.from !== null
    const autoBackup = input.autoBackup ?? true
    const every = draft.params.snapshotEveryMs
    const volume = putVolume(draft, {
      id: volumeId(draft),
      app,
      name: input.name,
      region: region.success,
      state: copying ? (input.snapshotId === undefined ? "hydrating" : "restoring") : "creating",
      host,
      sizeGb,
      fstype: input.fstype ?? "ext4",
      encrypted: input.encrypted ?? true,
      autoBackup,
      snapshotRetention: input.snapshotRetention ?? 5,
      createdAt: draft.now,
      updatedAt: draft.now,
      readyAt: draft.now + (copying ? volumeCopyMs : volumeCreateMs),
      machineId: null,
      lingering: null,
      deletedAt: null,
      purgeAt: null,
      nextSnapshotAt: autoBackup && every !== null ? draft.now + every : null
    })
    draft.actions.push({ _tag: "VolumeCreated", volumeId: volume.id, from: source.success.from })
    return Result.succeed(volume)
  }

/** Bound to a machine (a stopped one included), or just released by one that is not quite gone. */
const boundTo = (draft: Draft, volume: Volume): string | undefined => {
  if (volume.machineId !== null) {
    const holder = draft.state.machines[volume.machineId]
    const queued = holder?.state === "destroying" && unreachable(draft.state, volume.host)
    return queued ? undefined : volume.machineId
  }
  const { lingering } = volume
  if (lingering === null) return undefined
  const destroyedAt = lingering.until - Math.max(draft.params.delays.detachMs, draft.params.delays.claimLingerMs)
  return draft.now < destroyedAt + draft.params.delays.detachMs ? lingering.machineId : undefined
}

/** Soft: `pending_destroy`, and gone a day later. A second time is an error, as the volume is no longer there. */
export const deleteVolume =
  (app: string, id: string): Op<Volume> =>
  (draft) =>
    Result.flatMap(findVolume(draft, app, id), (volume) => {
      if (volume.state === "pending_destroy") return refuse(404, "volume not found")
      const holder = boundTo(draft, volume)
      if (holder !== undefined) return precondition(`volume is currently bound to machine: ${holder}`)
      return Result.succeed(putVolume(draft, softDeleted(draft, volume)))
    })

export const softDeleted = (draft: Draft, volume: Volume): Volume => ({
  ...volume,
  state: "pending_destroy",
  machineId: null,
  lingering: null,
  updatedAt: draft.now,
  deletedAt: draft.now,
  purgeAt: draft.now + draft.params.softDeleteMs,
  nextSnapshotAt: null
})

export const getVolume =
  (app: string, id: string): Op<Volume> =>
  (draft) =>
    findVolume(draft, app, id)

/** Soft-deleted volumes are in it too; within the list's lag they still show as they were. */
export const listVolumes =
  (app: string): Op<ReadonlyArray<Volume>> =>
  (draft) =>
    Result.map(findApp(draft, app), () => {
      const lag = draft.params.delays.listLagMs
      return Object.values(draft.state.volumes)
        .filter((volume) => volume.app === app && volume.createdAt + lag <= draft.now)
        .map((volume): Volume =>
          volume.deletedAt !== null && volume.deletedAt + lag > draft.now ? { ...volume, state: "created" } : volume
        )
        .toSorted((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    })

export const updateVolume =
  (
    app: string,
    id: string,
    change: { readonly autoBackup?: boolean; readonly snapshotRetention?: number }
  ): Op<Volume> =>
  (draft) =>
    Result.flatMap(findVolume(draft, app, id), (volume) => {
      const retention = change.snapshotRetention ?? volume.snapshotRetention
      if (retention < 1 || retention > 60) return invalid("snapshot_retention must be between 1 and 60")
      const autoBackup = change.autoBackup ?? volume.autoBackup
      const every = draft.params.snapshotEveryMs
      return Result.succeed(
        putVolume(draft, {
          ...volume,
          autoBackup,
          snapshotRetention: retention,
          updatedAt: draft.now,
          nextSnapshotAt: autoBackup && every !== null ? (volume.nextSnapshotAt ?? draft.now + every) : null
        })
      )
    })

/** Volumes only grow. A machine on it must restart to see the new size. */
export const extendVolume =
  (app: string, id: string, sizeGb: number): Op<Volume> =>
  (draft) =>
    Result.flatMap(findVolume(draft, app, id), (volume) => {
      if (sizeGb < volume.sizeGb || sizeGb > 500) return invalid("volumes can only be extended, up to 500 GB")
      return Result.succeed(putVolume(draft, { ...volume, sizeGb, updatedAt: draft.now }))
    })
