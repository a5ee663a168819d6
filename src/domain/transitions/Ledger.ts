/** The machine ledger's own transitions, a row each: provisioning, pool, bin. `project` is the row's, null for the pool's. */
import type { MachineRow, MachineStatus, NewMachine } from "../Machine.ts"
import { holds, type Lease, type Project } from "../Project.ts"
import { discarded, reached } from "./Rows.ts"

/** A create whose answer was lost may still happen: how long, and how many listings, until its absence is believed. */
export const absence = { minAgeMs: 15 * 60_000, minLooks: 2 } as const

/** Which of a row's two resources had an id that was recorded as confirmed gone. */
export interface Deletions {
  readonly machine: boolean
  readonly volume: boolean
}

export const noDeletions: Deletions = { machine: false, volume: false }

export const provisioning = (machine: NewMachine, lease: Lease | null, now: number): MachineRow => ({
  name: machine.name,
  project: lease?.projectId ?? null,
  generation: lease?.generation ?? 0,
  region: machine.region,
  image: machine.image,
  volumeSizeGb: machine.volumeSizeGb,
  machineId: null,
  volumeId: null,
  privateIp: null,
  keyId: machine.keyId,
  status: "provisioning",
  served: false,
  released: false,
  attempts: 0,
  nextAttemptAt: null,
  lastError: null,
  absentLooks: 0,
  createdAt: now,
  updatedAt: now
})

/** Operations that make machines and commit one. */
const makesMachines = (project: Project): boolean =>
  project.operation === "creating" || project.operation === "waking" || project.operation === "rehosting"

/** The lease's operation may have a machine of its own made. */
export const mayProvision = (project: Project, lease: Lease): boolean => holds(project, lease) && makesMachines(project)

const isCommitted = (row: MachineRow, project: Project | null): boolean => project?.machine === row.name

/** A running operation may still commit the row. */
const mayCommit = (row: MachineRow, project: Project | null): boolean =>
  project !== null && makesMachines(project) && row.generation === project.generation

/** The row that an operation claimed or made and now gives up for the next one. */
export const isHeldBy = (row: MachineRow, project: Project): boolean =>
  row.project === project.projectId &&
  row.status === "assigned" &&
  mayCommit(row, project) &&
  !isCommitted(row, project)

/**
 * Where an id may be written: a row still being provisioned, or the project's own in a rehost. Elsewhere it comes too
 * late and the row goes to the bin with it. A machine that serves keeps its own ids: what came too late for it stands
 * in no row, and is found at Fly as a stray.
 */
const written = (row: MachineRow, project: Project | null, ids: Partial<MachineRow>, now: number): MachineRow => {
  const fresh = { ...row, ...ids, absentLooks: 0, updatedAt: now }
  const rehosts = isCommitted(row, project) && row.status === "assigned"
  if (row.status === "provisioning" || (rehosts && project?.operation === "rehosting")) return fresh
  return rehosts ? row : discarded(fresh, now)
}

export const recordVolume = (
  row: MachineRow,
  project: Project | null,
  volume: { readonly volumeId: string; readonly region: string },
  now: number
): MachineRow => (row.volumeId === volume.volumeId ? row : written(row, project, volume, now))

export const recordMachine = (
  row: MachineRow,
  project: Project | null,
  machine: { readonly machineId: string; readonly privateIp: string | null },
  now: number
): MachineRow =>
  row.machineId === machine.machineId
    ? { ...row, privateIp: machine.privateIp ?? row.privateIp }
    : written(row, project, machine, now)

/** provisioning without a project, both ids known → ready. */
export const markReady = (row: MachineRow, now: number): MachineRow | null =>
  row.status === "provisioning" && row.project === null && row.machineId !== null && row.volumeId !== null
    ? { ...row, status: "ready", updatedAt: now }
    : null

/** A rehost in place: the id makes room for the next machine on the same volume. */
export const clearMachine = (row: MachineRow, project: Project, lease: Lease, now: number): MachineRow | null =>
  holds(project, lease) && project.operation === "rehosting" && isCommitted(row, project)
    ? { ...row, machineId: null, privateIp: null, absentLooks: 0, updatedAt: now }
    : null

export const discard = (
  row: MachineRow,
  project: Project | null,
  input: { readonly from: ReadonlyArray<MachineStatus>; readonly reason: string },
  now: number
): MachineRow | null =>
  input.from.includes(row.status) && !isCommitted(row, project)
    ? { ...discarded(row, now), lastError: input.reason }
    : null

/** assigned, but no project's machine, and no running operation could commit it. */
export const isUnnamed = (row: MachineRow, project: Project | null): boolean =>
  row.status === "assigned" && !isCommitted(row, project) && !mayCommit(row, project)

/** Provisioning for too long, and its operation is over; a pool pass is over by then. */
export const isAbandoned = (row: MachineRow, project: Project | null, olderThanMs: number, now: number): boolean =>
  row.status === "provisioning" && reached(row.createdAt + olderThanMs, now) && !mayCommit(row, project)

/** An id confirmed gone is forgotten, in the bin only; null where there is none to forget. */
export const recordGone = (
  row: MachineRow,
  deletions: Deletions,
  what: "machine" | "volume"
): { readonly row: MachineRow; readonly deletions: Deletions } | null => {
  if (row.status !== "discarded") return null
  if (what === "machine") {
    return row.machineId === null
      ? null
      : { row: { ...row, machineId: null, privateIp: null }, deletions: { ...deletions, machine: true } }
  }
  return row.volumeId === null ? null : { row: { ...row, volumeId: null }, deletions: { ...deletions, volume: true } }
}

/** Both deletions are on record; or the bin has held it without ids long enough, and listings did not show it. */
export const mayBeGone = (
  row: MachineRow,
  deletions: Deletions,
  now: number,
  absentMs: number = absence.minAgeMs
): boolean =>
  row.status === "discarded" &&
  row.machineId === null &&
  row.volumeId === null &&
  ((deletions.machine && deletions.volume) ||
    (row.absentLooks >= absence.minLooks && reached(row.updatedAt + absentMs, now)))

/** The order of lists of rows. */
export const oldestFirst = (a: MachineRow, b: MachineRow): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : 1)

/** The order of the bin: rows never tried yet first, so that failing ones don't stand in their way. */
export const longestWaiting = (a: MachineRow, b: MachineRow): number =>
  (a.nextAttemptAt ?? 0) - (b.nextAttemptAt ?? 0) || a.updatedAt - b.updatedAt || (a.name < b.name ? -1 : 1)
