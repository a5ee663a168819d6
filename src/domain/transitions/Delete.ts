/** Deleting: from any state to a tombstone, which keeps the id from ever being used again. */
import { holds, type Lease, type Project } from "../Project.ts"
import {
  type Begin,
  begun,
  released,
  ended,
  event,
  leaseExpired,
  nothing,
  type ProjectRows,
  takenOver,
  withoutFailures,
  type Written
} from "./Rows.ts"

/** any (none, or any operation if `force` or its lease has expired) → deleting. */
export const beginDelete = (
  rows: ProjectRows,
  input: Begin & { readonly force: boolean },
  now: number
): Written | null => {
  const { project } = rows
  if (project.state === "deleted") return null
  const takesOver = project.operation !== "none"
  if (takesOver && !input.force && !leaseExpired(project, now)) return null
  const after = begun(project, "deleting", input, now)
  const left = takesOver ? takenOver(rows, after, now) : nothing
  return { project: after, ...left, events: [...left.events, event("delete_begun", after)] }
}

/** deleting → tombstone: nothing of the project is wanted any more, so every volume is released. */
export const commitDelete = (
  rows: ProjectRows,
  input: { readonly lease: Lease; readonly machineDeleteAfterMs: number },
  now: number
): Written | null => {
  const { archives, machines, project } = rows
  if (!holds(project, input.lease) || project.operation !== "deleting") return null
  const after: Project = {
    ...withoutFailures(ended(project)),
    state: "deleted",
    machine: null,
    dirty: false,
    dataUnavailable: false,
    deletedAt: now
  }
  return {
    project: after,
    machines: machines
      .filter((row) => row.status !== "gone")
      .map((row) => released(row, now, input.machineDeleteAfterMs)),
    archives: archives
      .filter((row) => row.status !== "gone" && row.status !== "discarded")
      .map((row) => ({ ...row, status: "discarded" })),
    events: [event("deleted", after)]
  }
}
