/** Archiving: from active to dormant, and back where it does not come to that. */
import type { ArchiveRow } from "../Archive.ts"
import type { MachineRow } from "../Machine.ts"
import { holds, type Lease, type Project, type Settings } from "../Project.ts"
import {
  type Begin,
  begun,
  released,
  ended,
  event,
  isAwake,
  leaseExpired,
  type NewEvent,
  type ProjectRows,
  reached,
  uploadsDiscarded,
  withoutFailures,
  type Written
} from "./Rows.ts"

/** The project's own threshold wins over the plane's. */
export const idleThresholdMs = (settings: Settings, defaultMs: number): number =>
  settings.dormancyThresholdSeconds === null ? defaultMs : settings.dormancyThresholdSeconds * 1000

/** A sweep may archive it: awake with a machine, undisturbed by an operation, not pinned, idle and due. */
export const isIdle = (project: Project, idleMs: number, now: number): boolean =>
  mayArchive(project) &&
  !project.settings.pinned &&
  reached(project.nextAttemptAt, now) &&
  reached(project.lastActiveAt + idleThresholdMs(project.settings, idleMs), now)

/** What not even `force` skips: without a machine there is nothing to archive. */
const mayArchive = (project: Project): boolean =>
  isAwake(project) && project.operation === "none" && project.machine !== null && !project.dataUnavailable

export const beginArchive = (
  rows: ProjectRows,
  input: Begin & { readonly idleMs: number; readonly force: boolean },
  now: number
): { readonly written: Written; readonly machine: MachineRow } | null => {
  const { machines, project } = rows
  if (!(input.force ? mayArchive(project) : isIdle(project, input.idleMs, now))) return null
  const machine = machines.find((row) => row.name === project.machine)
  if (machine === undefined) return null
  const after = begun(project, "archiving", input, now)
  const idleSeconds = Math.floor((now - project.lastActiveAt) / 1000)
  const events = [event("archive_begun", after, { forced: input.force, idle_seconds: idleSeconds })]
  return { written: { project: after, machines: [], archives: [], events }, machine }
}

/** The row before its URL. The same key again extends it, so that a step may be repeated. */
export const startUpload = (
  rows: ProjectRows,
  input: { readonly lease: Lease; readonly r2Key: string; readonly urlExpiresInMs: number },
  now: number
): Written | null => {
  const { archives, project } = rows
  if (!holds(project, input.lease) || project.operation !== "archiving") return null
  const urlExpiresAt = now + input.urlExpiresInMs
  const before = archives.find((row) => row.r2Key === input.r2Key)
  if (before !== undefined && before.status !== "uploading") return null
  const row: ArchiveRow =
    before === undefined
      ? {
          r2Key: input.r2Key,
          projectId: project.projectId,
          projectUid: project.uid,
          generation: project.generation,
          r2Checksum: null,
          size: null,
          urlExpiresAt,
          status: "uploading",
          attempts: 0,
          nextAttemptAt: null,
          lastError: null,
          createdAt: now
        }
      : { ...before, urlExpiresAt: Math.max(before.urlExpiresAt, urlExpiresAt) }
  return { project: { ...project, uploading: true }, machines: [], archives: [row], events: [] }
}

/** The newest of those that were current or previous stays as the previous one. */
const retired = (archives: ReadonlyArray<ArchiveRow>): ReadonlyArray<ArchiveRow> =>
  archives
    .filter((row) => row.status === "current" || row.status === "previous")
    .toSorted((a, b) => b.generation - a.generation || b.createdAt - a.createdAt)
    .map((row, index) => ({ ...row, status: index === 0 ? "previous" : "discarded" }))

/** archiving → dormant: from here on the archive is the truth and the machine's volume may go. */
export const commitArchive = (
  rows: ProjectRows,
  input: {
    readonly lease: Lease
    readonly r2Key: string
    readonly r2Checksum: string
    readonly size: number
    readonly machineDeleteAfterMs: number
  },
  now: number
): Written | null => {
  const { archives, machines, project } = rows
  if (!holds(project, input.lease) || project.operation !== "archiving") return null
  const upload = archives.find((row) => row.r2Key === input.r2Key)
  if (upload?.status !== "uploading" || upload.generation !== project.generation) return null
  const after: Project = { ...withoutFailures(ended(project)), state: "dormant", machine: null, dirty: false }
  return {
    project: after,
    machines: machines
      .filter((row) => row.name === project.machine)
      .map((row) => released(row, now, input.machineDeleteAfterMs)),
    archives: [
      { ...upload, status: "current", r2Checksum: input.r2Checksum, size: input.size },
      ...retired(archives),
      ...uploadsDiscarded(archives.filter((row) => row !== upload))
    ],
    events: [event("archived", after, { size: input.size, r2_checksum: input.r2Checksum })]
  }
}

export interface AbortArchive {
  readonly by: { readonly _tag: "Holder"; readonly lease: Lease } | { readonly _tag: "Takeover" }
  readonly idleSeconds: number | null
  readonly backoffMs: number | null
  readonly error: string | null
  readonly minGeneration?: number
}

/** archiving → active. The generation grows first; only then may the machine be unsealed, with the new one. */
export const abortArchive = (rows: ProjectRows, input: AbortArchive, now: number): Written | null => {
  const { archives, project } = rows
  if (project.operation !== "archiving") return null
  const takesOver = input.by._tag === "Takeover"
  if (input.by._tag === "Holder" ? !holds(project, input.by.lease) : project.uploading && !leaseExpired(project, now)) {
    return null
  }
  const back: Project = {
    ...ended(project),
    state: "active",
    generation: Math.max(project.generation + 1, input.minGeneration ?? 0),
    lastActiveAt:
      input.idleSeconds === null
        ? project.lastActiveAt
        : Math.max(project.lastActiveAt, now - input.idleSeconds * 1000),
    lastError: input.error ?? project.lastError
  }
  const after: Project =
    input.backoffMs === null ? back : { ...back, attempts: project.attempts + 1, nextAttemptAt: now + input.backoffMs }
  const takeover: ReadonlyArray<NewEvent> = takesOver
    ? [event("taken_over", after, { operation: project.operation })]
    : []
  const outcome =
    input.error === null
      ? event("archive_aborted", after, { idle_seconds: input.idleSeconds })
      : event("archive_failed", after, { error: input.error })
  return { project: after, machines: [], archives: uploadsDiscarded(archives), events: [...takeover, outcome] }
}

/** An upload whose operation is over: no commit can make it current any more. */
export const isAbandonedUpload = (row: ArchiveRow, project: Project | null): boolean =>
  row.status === "uploading" &&
  !(
    project !== null &&
    project.uid === row.projectUid &&
    project.operation === "archiving" &&
    project.generation === row.generation
  )
