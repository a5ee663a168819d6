/** What a listing of Fly tells about one row: display state, a migrated volume, an address. Nothing branches on it. */
import type { MachineRow } from "../Machine.ts"
import type { Project } from "../Project.ts"
import { event, type NewEvent } from "./Rows.ts"

/** A machine as one listing showed it. */
export interface Seen {
  readonly machineId: string
  readonly state: "active" | "suspended" | null
  readonly volumeId: string | null
  readonly privateIp: string | null
}

export interface Observed {
  readonly machine: MachineRow
  /** Null where the row is no project's machine. */
  readonly project: Project | null
  readonly events: ReadonlyArray<NewEvent>
}

/** Null where nothing differs. A Fly migration keeps the machine's id and changes its volume's: the row follows. */
export const observe = (row: MachineRow, owner: Project | null, seen: Seen, now: number): Observed | null => {
  const project = owner?.machine === row.name ? owner : null
  const volumeId = seen.volumeId ?? row.volumeId
  const privateIp = seen.privateIp ?? row.privateIp
  const moved = volumeId !== row.volumeId
  const rowChanges = moved || privateIp !== row.privateIp
  const after = project === null || seen.state === null ? project : { ...project, state: seen.state }
  const stateChanges = after?.state !== project?.state
  if (!rowChanges && !stateChanges) return null
  return {
    machine: rowChanges ? { ...row, volumeId, privateIp, updatedAt: now } : row,
    project: after,
    events:
      after === null
        ? []
        : [
            ...(stateChanges ? [event(after.state === "suspended" ? "suspended" : "resumed", after)] : []),
            ...(moved && row.volumeId !== null
              ? [event("volume_moved", after, { machine: row.name, from: row.volumeId, to: volumeId })]
              : [])
          ]
  }
}
