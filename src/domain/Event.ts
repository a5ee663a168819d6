/** What happened to my project, and why is it awake. Written in the transaction of the transition that it tells of. */
import type { ProjectId } from "./ProjectId.ts"

export const eventKinds = [
  "created",
  "wake_begun",
  "woken",
  "wake_failed",
  "archive_begun",
  "archived",
  "archive_failed",
  "archive_aborted",
  "suspended",
  "resumed",
  "rehost_begun",
  "rehosted",
  "rehost_failed",
  "taken_over",
  "volume_moved",
  "data_unavailable",
  "recovered",
  "settings_changed",
  "delete_begun",
  "deleted",
  "object_missing"
] as const
export type EventKind = (typeof eventKinds)[number]

export interface ProjectEvent {
  readonly id: number
  readonly projectId: ProjectId
  readonly at: number
  readonly kind: EventKind
  readonly generation: number
  /** Facts for a reader, never a secret: machine name, sizes, reasons. */
  readonly detail: Readonly<Record<string, string | number | boolean | null>>
}
