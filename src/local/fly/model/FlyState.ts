/**
 * The state of a simulated Fly: plain JSON, so that it can be stored, compared and replayed.
 *
 * All times are milliseconds since the epoch. Nothing here reads a clock: operations get the time from their caller.
 */
import type { FlyMachineState } from "../../../services/fly/Fly.ts"
import type { ActiveFault } from "./Faults.ts"
import type { ModelConfig } from "./MachineConfigJson.ts"

export type MachineState = Exclude<FlyMachineState, "updating" | "launch_failed" | "replaced" | "migrated">

/** How long things take. Null: not by time, but when the host reports it (machines that are processes). */
export interface Delays {
  /** `created` after a create, while the image is prepared. */
  readonly prepareMs: number
  readonly bootMs: number | null
  readonly resumeMs: number | null
  readonly stopMs: number | null
  readonly suspendMs: number | null
  readonly destroyMs: number | null
  /** `replacing` after an update. */
  readonly replaceMs: number
  readonly volumeCreateMs: number
  /** `hydrating` of a fork, `restoring` of a snapshot. */
  readonly volumeCopyMs: number
  /** After `destroyed`, until the volume counts as detached and may be deleted. */
  readonly detachMs: number
  /** After `destroyed`, until a new machine may claim the volume. Minutes were seen at Fly. */
  readonly claimLingerMs: number
  /** A new machine or volume is missing from listings, and a deleted volume still shows as `created`, for so long. */
  readonly listLagMs: number
}

export interface Params {
  readonly regions: ReadonlyArray<string>
  readonly delays: Delays
  readonly rateLimits: boolean
  readonly hostsPerRegion: number
  /** A destroyed machine answers GET for so long, then 404. */
  readonly destroyedVisibleMs: number
  /** `pending_destroy` lasts a day at Fly. */
  readonly softDeleteMs: number
  /** Automatic snapshots of volumes with backups enabled; null for none. A day at Fly. */
  readonly snapshotEveryMs: number | null
  /** Pause before a crashed machine is started again by its restart policy. */
  readonly restartBackoffMs: number
}

/** Everything at once: the fastest world in which a program can be right. */
export const instantDelays: Delays = {
  prepareMs: 0,
  bootMs: 0,
  resumeMs: 0,
  stopMs: 0,
  suspendMs: 0,
  destroyMs: 0,
  replaceMs: 0,
  volumeCreateMs: 0,
  volumeCopyMs: 0,
  detachMs: 0,
  claimLingerMs: 0,
  listLagMs: 0
}

/** The order of magnitude that users of Fly report for a small image. */
export const realisticDelays: Delays = {
  prepareMs: 3_500,
  bootMs: 1_500,
  resumeMs: 300,
  stopMs: 1_000,
  suspendMs: 1_000,
  destroyMs: 2_000,
  replaceMs: 3_500,
  volumeCreateMs: 500,
  volumeCopyMs: 10_000,
  detachMs: 3_000,
  claimLingerMs: 60_000,
  listLagMs: 2_000
}

export const defaultParams: Params = {
  regions: ["sjc", "iad", "ams"],
  delays: instantDelays,
  rateLimits: false,
  hostsPerRegion: 24,
  destroyedVisibleMs: 5 * 60_000,
  softDeleteMs: 24 * 3_600_000,
  snapshotEveryMs: null,
  restartBackoffMs: 1_000
}

export interface MachineEvent {
  readonly id: string
  readonly type: string
  readonly status: string
  readonly source: "user" | "flyd" | "proxy"
  readonly timestamp: number
  readonly request?: Readonly<Record<string, unknown>>
}

export interface Lease {
  readonly nonce: string
  readonly expiresAt: number
  readonly owner: string
  readonly description: string
  readonly version: string
}

/** What a machine in a transient state is on its way to. `at` null: the host reports the end. */
export interface Transition {
  readonly kind: "prepare" | "boot" | "backoff" | "resume" | "stop" | "suspend" | "destroy" | "replace"
  readonly at: number | null
  readonly goal: "started" | "stopped" | "suspended" | "destroyed"
}

export interface Machine {
  readonly id: string
  readonly app: string
  readonly name: string
  readonly region: string
  readonly state: MachineState
  readonly instanceId: string
  readonly privateIp: string
  readonly config: ModelConfig
  readonly host: string
  readonly createdAt: number
  readonly updatedAt: number
  /** Newest first, at most 50. */
  readonly events: ReadonlyArray<MachineEvent>
  readonly versions: ReadonlyArray<{ readonly version: string; readonly config: ModelConfig }>
  readonly cordoned: boolean
  readonly lease: Lease | null
  readonly transition: Transition | null
  /** Grows with each boot: a report about an earlier process is stale. */
  readonly run: number
  readonly restarts: number
  readonly memoryLimitMb: number | null
  readonly destroyedAt: number | null
}

export type VolumeState = "creating" | "created" | "restoring" | "hydrating" | "pending_destroy"

export interface Volume {
  readonly id: string
  readonly app: string
  readonly name: string
  readonly region: string
  readonly state: VolumeState
  readonly host: string
  readonly sizeGb: number
  readonly fstype: string
  readonly encrypted: boolean
  readonly autoBackup: boolean
  readonly snapshotRetention: number
  readonly createdAt: number
  readonly updatedAt: number
  readonly readyAt: number
  readonly machineId: string | null
  /** A former holder and until when its claim lingers. */
  readonly lingering: { readonly machineId: string; readonly until: number } | null
  readonly deletedAt: number | null
  readonly purgeAt: number | null
  readonly nextSnapshotAt: number | null
}

export interface Snapshot {
  readonly id: string
  readonly app: string
  readonly volumeId: string
  readonly sizeGb: number
  readonly createdAt: number
  readonly retentionDays: number
}

export interface App {
  readonly name: string
  readonly id: string
  readonly number: number
  readonly org: string
  readonly network: string
  readonly createdAt: number
  readonly ips: ReadonlyArray<AppIp>
}

export interface AppIp {
  readonly ip: string
  readonly region: string
  readonly shared: boolean
  readonly createdAt: number
}

export interface FlyState {
  /** State of the generator behind all ids. */
  readonly seed: number
  readonly apps: Readonly<Record<string, App>>
  readonly machines: Readonly<Record<string, Machine>>
  readonly volumes: Readonly<Record<string, Volume>>
  readonly snapshots: Readonly<Record<string, Snapshot>>
  readonly unreachableHosts: ReadonlyArray<string>
  readonly faults: ReadonlyArray<ActiveFault>
  /** Token buckets by operation and identifier; a bucket that is full is not kept. */
  readonly buckets: Readonly<Record<string, { readonly tokens: number; readonly at: number }>>
}

export const emptyState = (seed: number): FlyState => ({
  seed: seed >>> 0,
  apps: {},
  machines: {},
  volumes: {},
  snapshots: {},
  unreachableHosts: [],
  faults: [],
  buckets: {}
})

/** What the model asks of whoever runs the machines and keeps the data. In the order in which it must happen. */
export type HostAction =
  | { readonly _tag: "Boot"; readonly machineId: string; readonly run: number }
  | { readonly _tag: "Resume"; readonly machineId: string; readonly run: number }
  | {
      readonly _tag: "Stop"
      readonly machineId: string
      readonly run: number
      readonly signal: string
      readonly timeoutMs: number
    }
  | { readonly _tag: "Suspend"; readonly machineId: string; readonly run: number }
  | { readonly _tag: "Kill"; readonly machineId: string; readonly run: number }
  | { readonly _tag: "Signal"; readonly machineId: string; readonly run: number; readonly signal: string }
  /** The machine's host is out of reach, or back: it keeps its state but nobody reaches it. */
  | { readonly _tag: "Freeze" | "Thaw"; readonly machineId: string; readonly run: number }
  /** The record of the machine is gone, its process first. */
  | { readonly _tag: "Forget"; readonly machineId: string }
  | {
      readonly _tag: "VolumeCreated"
      readonly volumeId: string
      readonly from: { readonly volume: string } | { readonly snapshot: string } | null
    }
  | { readonly _tag: "VolumeGone"; readonly volumeId: string }
  | { readonly _tag: "SnapshotTaken"; readonly snapshotId: string; readonly volumeId: string }
  | { readonly _tag: "SnapshotGone"; readonly snapshotId: string }
