/**
 * The part of Fly's Machines API that the plane calls, behind the names of the control plane's documents.
 *
 * Every method is one logical call with its own limit, request budget and retries where a retry is safe. A create whose
 * outcome is unknown looks for its machine (or volume) by name before it tries again, so a method that returns has done
 * what it says exactly once, and one that fails with `UnknownOutcome` has looked and could not tell.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { MachineConfig } from "../../contract/MachineConfig.ts"
import type { FlyError } from "./FlyError.ts"

export type FlyMachineState =
  | "created"
  | "starting"
  | "started"
  | "stopping"
  | "stopped"
  | "suspending"
  | "suspended"
  | "restarting"
  | "replacing"
  | "updating"
  | "launch_failed"
  | "failed"
  | "destroying"
  | "destroyed"
  | "replaced"
  | "migrated"

export interface FlyMachine {
  readonly id: string
  readonly name: string
  readonly state: FlyMachineState | (string & {})
  readonly region: string
  readonly instanceId: string
  readonly privateIp: string | null
  readonly hostStatus: "ok" | "unknown" | "unreachable"
  readonly image: string | null
  readonly volumeId: string | null
  readonly metadata: Readonly<Record<string, string>>
  /** Milliseconds since the epoch. */
  readonly createdAt: number
}

export interface FlyVolume {
  readonly id: string
  readonly name: string
  readonly state: string
  readonly region: string
  readonly sizeGb: number
  readonly attachedMachineId: string | null
  readonly hostStatus: "ok" | "unknown" | "unreachable"
  readonly createdAt: number
}

/** Deletion of a volume is final from here on; Fly keeps it a day before it frees the space. */
export const softDeleted: ReadonlySet<string> = new Set(["pending_destroy", "destroying", "destroyed"])

export interface FlySnapshot {
  readonly id: string
  readonly createdAt: number
  readonly sizeBytes: number
}

/** Who asks decides who waits: a wake goes before a refill when the request budget is short. */
export type Priority = "wake" | "background"
/** `wake` unless a layer or a program says otherwise. */
export const FlyPriority = Context.Reference<Priority>("valet/FlyPriority", { defaultValue: () => "wake" })

export interface CreateVolume {
  readonly name: string
  readonly region: string
  readonly sizeGb: number
  /** The guest of the machine that will mount it, so that Fly picks a host where both fit. */
  readonly compute: MachineConfig["guest"]
  /** Fork of this volume: Fly's cure for a full or lost host. */
  readonly sourceVolumeId?: string
  readonly snapshotId?: string
}

export interface CreateMachine {
  readonly name: string
  readonly region: string
  readonly config: MachineConfig
  readonly skipLaunch?: boolean
}

export class Fly extends Context.Service<
  Fly,
  {
    createVolume(input: CreateVolume): Effect.Effect<FlyVolume, FlyError>
    /** Succeeds for a volume that is already gone. `Conflict` while a machine is still bound to it. */
    deleteVolume(volumeId: string): Effect.Effect<void, FlyError>
    getVolume(volumeId: string): Effect.Effect<FlyVolume, FlyError>
    /** All volumes of the app but the soft-deleted ones (`pending_destroy` and after). */
    readonly listVolumes: Effect.Effect<ReadonlyArray<FlyVolume>, FlyError>
    listSnapshots(volumeId: string): Effect.Effect<ReadonlyArray<FlySnapshot>, FlyError>

    createMachine(input: CreateMachine): Effect.Effect<FlyMachine, FlyError>
    /** Replaces the whole configuration; a started machine restarts. */
    updateMachine(machineId: string, config: MachineConfig): Effect.Effect<FlyMachine, FlyError>
    /** With force: kills first. Succeeds for a machine that is already gone. Does not wait for `destroyed`. */
    deleteMachine(machineId: string): Effect.Effect<void, FlyError>
    /** A destroyed machine is still found for a while (state `destroyed`), then `NotFound`. */
    getMachine(machineId: string): Effect.Effect<FlyMachine, FlyError>
    readonly listMachines: Effect.Effect<ReadonlyArray<FlyMachine>, FlyError>
    startMachine(machineId: string): Effect.Effect<void, FlyError>
    stopMachine(machineId: string): Effect.Effect<void, FlyError>
    suspendMachine(machineId: string): Effect.Effect<void, FlyError>
    /** Waits for `started`. */
    waitForMachine(machineId: string, timeoutMs: number): Effect.Effect<void, FlyError>
    /** In waits of at most 60 s (Fly's limit), until `timeoutMs`; `NotFound` counts as reached for `destroyed`. */
    waitForState(
      machineId: string,
      state: "started" | "stopped" | "suspended" | "destroyed",
      timeoutMs: number
    ): Effect.Effect<void, FlyError>
    getMetadata(machineId: string): Effect.Effect<Readonly<Record<string, string>>, FlyError>
    setMetadata(machineId: string, key: string, value: string): Effect.Effect<void, FlyError>
  }
>()("valet/Fly") {}
