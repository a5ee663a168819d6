/**
 * A project is its row; a machine is a cache of it.
 *
 * Times are milliseconds since the epoch by the database's clock. `generation` is the fencing token: it grows by one
 * whenever an operation begins or is taken over, so a machine or a commit can tell a stale owner from the current one.
 */
import type { MachineName } from "./Machine.ts"
import type { ProjectId } from "./ProjectId.ts"

export const projectStates = ["active", "suspended", "dormant", "deleted"] as const
export type ProjectState = (typeof projectStates)[number]

export const operations = ["none", "creating", "waking", "archiving", "rehosting", "deleting"] as const
export type Operation = (typeof operations)[number]

export interface Settings {
  /** Seconds without traffic after which the machine suspends itself; null: the plane's default. */
  readonly idleTimeoutSeconds: number | null
  /** Seconds without traffic after which the sweep archives the project; null: the plane's default. */
  readonly dormancyThresholdSeconds: number | null
  /** A pinned project is never archived for being idle. */
  readonly pinned: boolean
}

/** The deploy key as it is stored: AES-256-GCM under a key derived from the internal secret with that id, base64url. */
export interface SealedKey {
  readonly sealed: string
  readonly keyId: string
}

export interface Project {
  readonly projectId: ProjectId
  /** Stands in object keys, machine calls and routes, so that nothing of an earlier project can reach a later one. */
  readonly uid: string
  readonly state: ProjectState
  readonly operation: Operation
  readonly operationId: string | null
  readonly generation: number
  readonly leaseUntil: number | null
  /** An archive's upload may have begun: from here on a request waits for the commit instead of aborting it. */
  readonly uploading: boolean
  /** The ledger row that serves the project; set by a commit only. */
  readonly machine: MachineName | null
  readonly region: string
  /** The volume holds writes that no archive has: set when a wake commits, cleared when an archive commits. */
  readonly dirty: boolean
  /** Machine and volume are both gone while dirty: only an operator's `recover` decides what is served next. */
  readonly dataUnavailable: boolean
  readonly deployKey: SealedKey
  readonly settings: Settings
  /** Failed wakes, archives or rehosts in a row, and when the next one may begin. */
  readonly attempts: number
  readonly nextAttemptAt: number | null
  readonly lastError: string | null
  readonly createdAt: number
  readonly lastActiveAt: number
  readonly deletedAt: number | null
}

/** Names an operation that its holder believes it still owns. Every commit compares operation_id and generation. */
export interface Lease {
  readonly projectId: ProjectId
  readonly operationId: string
  readonly generation: number
}

export const leaseOf = (project: Project): Lease => ({
  projectId: project.projectId,
  operationId: project.operationId ?? "",
  generation: project.generation
})

export const holds = (project: Project, lease: Lease): boolean =>
  project.projectId === lease.projectId &&
  project.operationId === lease.operationId &&
  project.generation === lease.generation &&
  project.operation !== "none"
