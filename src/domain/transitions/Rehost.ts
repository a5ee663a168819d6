/** Rehosting: the same volume, or a fork of it, under a new machine; and what is left to an operator where both are gone. */
import type { ArchiveRow } from "../Archive.ts"
import type { MachineName, MachineRow } from "../Machine.ts"
import { holds, type Lease, type Project } from "../Project.ts"
import {
  type Begin,
  begun,
  discarded,
  ended,
  event,
  heldBeside,
  isAwake,
  leaseExpired,
  nothing,
  type ProjectRows,
  reached,
  takenOver,
  withFailure,
  withoutFailures,
  type Written
} from "./Rows.ts"

/** active/suspended (none, or rehosting with an expired lease), machine as expected → rehosting. */
export const beginRehost = (
  rows: ProjectRows,
  input: Begin & { readonly machine: MachineName; readonly reason: string; readonly force?: boolean },
  now: number
): { readonly written: Written; readonly machine: MachineRow } | null => {
  const { machines, project } = rows
  if (!isAwake(project) || project.machine !== input.machine) return null
  const takesOver = project.operation === "rehosting" && leaseExpired(project, now)
  if (project.operation !== "none" && !takesOver) return null
  const mayBegin = takesOver || input.force === true
  if (!mayBegin && (project.dataUnavailable || !reached(project.nextAttemptAt, now))) return null
  const machine = machines.find((row) => row.name === input.machine)
  if (machine === undefined) return null
  const after = begun(project, "rehosting", input, now)
  const left = takesOver ? takenOver(rows, after, now) : nothing
  const events = [...left.events, event("rehost_begun", after, { machine: input.machine, reason: input.reason })]
  return { written: { project: after, machines: left.machines, archives: left.archives, events }, machine }
}

/** What a reader may miss: everything since the last archive. */
const missing = (project: Project, archives: ReadonlyArray<ArchiveRow>) => ({
  machine: project.machine,
  archived_at: archives.find((row) => row.status === "current")?.createdAt ?? null
})

/** rehosting → active on the same row; its forks go, the project's own machine row never. */
export const failRehost = (
  rows: ProjectRows,
  input: {
    readonly lease: Lease
    readonly error: string
    readonly retryAfterMs: number
    readonly dataUnavailable: boolean
  },
  now: number
): Written | null => {
  const { archives, project } = rows
  if (!holds(project, input.lease) || project.operation !== "rehosting") return null
  const after: Project = {
    ...withFailure(ended(project), input.error, input.retryAfterMs, now),
    state: "active",
    generation: project.generation + 1,
    dataUnavailable: project.dataUnavailable || input.dataUnavailable
  }
  const failed = event("rehost_failed", after, { error: input.error })
  const becomesUnavailable = after.dataUnavailable && !project.dataUnavailable
  return {
    project: after,
    machines: heldBeside(rows).map((row) => discarded(row, now)),
    archives: [],
    events: becomesUnavailable ? [failed, event("data_unavailable", after, missing(project, archives))] : [failed]
  }
}

/**
 * An operator's decision while data is unavailable: → dormant. The lost machine's row goes to the bin unreleased, so
 * that its volume stays if it ever returns. `empty` retires the current archive, and none is pruned for it.
 */
export const recover = (
  rows: ProjectRows,
  { from }: { readonly from: "archive" | "empty" },
  now: number
): Written | null => {
  const { archives, machines, project } = rows
  if (!project.dataUnavailable || project.operation !== "none") return null
  const after: Project = {
    ...withoutFailures(project),
    state: "dormant",
    machine: null,
    dirty: false,
    dataUnavailable: false
  }
  return {
    project: after,
    machines: machines.filter((row) => row.name === project.machine).map((row) => discarded(row, now)),
    archives:
      from === "archive"
        ? []
        : archives.filter((row) => row.status === "current").map((row) => ({ ...row, status: "previous" })),
    events: [event("recovered", after, { from, ...missing(project, archives) })]
  }
}
