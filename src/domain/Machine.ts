/**
 * The machine ledger: one row per machine-and-volume pair, written before either exists at Fly.
 *
 * Provisioning → ready (in the warm pool) → assigned → discarded (in the bin) → gone. Compare-and-set throughout.
 */
import * as Schema from "effect/Schema"
import type { ProjectId } from "./ProjectId.ts"

/** The name of both the machine and the volume at Fly: unique, `[a-z0-9]`, at most 30, starts with the plane's prefix. */
export const MachineName = Schema.String.check(Schema.isPattern(/^[a-z0-9]{1,30}$/)).pipe(Schema.brand("MachineName"))
export type MachineName = typeof MachineName.Type

export const machineStatuses = ["provisioning", "ready", "assigned", "discarded", "gone"] as const
export type MachineStatus = (typeof machineStatuses)[number]

export interface MachineRow {
  readonly name: MachineName
  /** Null for the pool's own rows. Never cleared: a pool never touches a row that once had a project. */
  readonly project: ProjectId | null
  /** The operation's generation for which the row was made or claimed; 0 for the pool's. */
  readonly generation: number
  readonly region: string
  readonly image: string
  readonly volumeSizeGb: number
  readonly machineId: string | null
  readonly volumeId: string | null
  /** 6PN address as last told by Fly: a second way to reach the machine while DNS does not know it yet. */
  readonly privateIp: string | null
  /** Which internal secret the machine's own secret was derived from. */
  readonly keyId: string
  readonly status: MachineStatus
  /** Its volume held a project's acknowledged writes: set when a commit made it a project's machine. */
  readonly served: boolean
  /** What its volume held is safe elsewhere (archive verified, fork committed) or unwanted (project deleted). */
  readonly released: boolean
  readonly attempts: number
  readonly nextAttemptAt: number | null
  readonly lastError: string | null
  /** Complete listings in a row in which neither id nor name appeared. */
  readonly absentLooks: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** A volume goes only if it never served a project, or what it held is safe elsewhere or unwanted. */
export const volumeMayGo = (row: Pick<MachineRow, "served" | "released">): boolean => !row.served || row.released

export interface NewMachine {
  readonly name: MachineName
  readonly region: string
  readonly image: string
  readonly volumeSizeGb: number
  readonly keyId: string
}
