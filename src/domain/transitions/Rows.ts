/**
 * What every transition of a project reads and writes. A transition is a pure function of the project's rows, its
 * input and the database's time; it returns what to write, or null where the compare failed and nothing changes.
 *
 * Moments are inclusive throughout: a lease has expired, an attempt is due and an age is reached when `at <= now`.
 */
import type { ArchiveRow } from "../Archive.ts"
import type { ProjectEvent } from "../Event.ts"
import { type MachineRow, volumeMayGo } from "../Machine.ts"
import type { Operation, Project } from "../Project.ts"

/** The project, its machine rows (gone ones may be left out) and the archive rows of its uid (likewise). */
export interface ProjectRows {
  readonly project: Project
  readonly machines: ReadonlyArray<MachineRow>
  readonly archives: ReadonlyArray<ArchiveRow>
}

export type NewEvent = Pick<ProjectEvent, "kind" | "generation" | "detail">

/** The project as it becomes, and only those machine and archive rows that change. */
export interface Written {
  readonly project: Project
  readonly machines: ReadonlyArray<MachineRow>
  readonly archives: ReadonlyArray<ArchiveRow>
  readonly events: ReadonlyArray<NewEvent>
}

export const reached = (at: number | null, now: number): boolean => at === null || at <= now

export const leaseExpired = (project: Project, now: number): boolean =>
  project.operation !== "none" && reached(project.leaseUntil, now)

/** A living project has a machine to look after; a dormant one and a tombstone have none. */
export const isAwake = (project: Project): boolean => project.state === "active" || project.state === "suspended"

export interface Begin {
  readonly operationId: string
  readonly leaseMs: number
}

/** Begins or takes over: the one place where the fencing token grows for an operation. */
export const begun = (
  project: Project,
  operation: Exclude<Operation, "none">,
  { leaseMs, operationId }: Begin,
  now: number
): Project => ({
  ...project,
  operation,
  operationId,
  generation: project.generation + 1,
  leaseUntil: now + leaseMs,
  uploading: false
})

export const ended = (project: Project): Project => ({
  ...project,
  operation: "none",
  operationId: null,
  leaseUntil: null,
  uploading: false
})

export const withoutFailures = (project: Project): Project => ({
  ...project,
  attempts: 0,
  nextAttemptAt: null,
  lastError: null
})

export const withFailure = (project: Project, error: string, retryAfterMs: number | null, now: number): Project => ({
  ...project,
  attempts: project.attempts + 1,
  nextAttemptAt: retryAfterMs === null ? null : now + retryAfterMs,
  lastError: error
})

export const event = (kind: NewEvent["kind"], project: Project, detail: NewEvent["detail"] = {}): NewEvent => ({
  kind,
  generation: project.generation,
  detail
})

/** Into the bin; a row that lies there already keeps its own schedule. */
export const discarded = (row: MachineRow, now: number, deleteAfterMs: number | null = null): MachineRow =>
  row.status === "discarded"
    ? row
    : {
        ...row,
        status: "discarded",
        attempts: 0,
        nextAttemptAt: deleteAfterMs === null ? null : now + deleteAfterMs,
        absentLooks: 0,
        updatedAt: now
      }

/**
 * Into the bin with what it held safe or unwanted. A row that lies there already keeps its own schedule, unless it was
 * kept for its volume alone: nothing holds it any more.
 */
export const released = (row: MachineRow, now: number, deleteAfterMs: number | null = null): MachineRow => {
  const binned = { ...discarded(row, now, deleteAfterMs), released: true }
  if (row.status !== "discarded" || volumeMayGo(row)) return binned
  return { ...binned, attempts: 0, nextAttemptAt: deleteAfterMs === null ? null : now + deleteAfterMs }
}

const isHeld = (row: MachineRow): boolean => row.status === "provisioning" || row.status === "assigned"

/** What operations made or claimed for the project, beside the machine that serves it. */
export const heldBeside = ({ machines, project }: ProjectRows): ReadonlyArray<MachineRow> =>
  machines.filter((row) => isHeld(row) && row.name !== project.machine)

export const uploadsDiscarded = (archives: ReadonlyArray<ArchiveRow>): ReadonlyArray<ArchiveRow> =>
  archives.filter((row) => row.status === "uploading").map((row) => ({ ...row, status: "discarded" }))

/** Whatever the operation so far had made is thrown away; its holder's commits fail by the new generation. */
export const takenOver = (
  rows: ProjectRows,
  after: Project,
  now: number
): Pick<Written, "machines" | "archives" | "events"> => ({
  machines: heldBeside(rows).map((row) => discarded(row, now)),
  archives: uploadsDiscarded(rows.archives),
  events: [event("taken_over", after, { operation: rows.project.operation })]
})

export const nothing: Pick<Written, "machines" | "archives" | "events"> = { machines: [], archives: [], events: [] }
