/**
 * The archive ledger: one row per upload attempt, written before its URL is signed. No object is ever overwritten: the
 * key carries project uid, generation and a random suffix chosen for each attempt.
 *
 * Uploading → current → previous → discarded → gone. The one before the current is kept; only discarded objects are
 * deleted, after `urlExpiresAt` and a margin, because a presigned URL still in flight could write them again.
 */
import type { ProjectId } from "./ProjectId.ts"

export const archiveStatuses = ["uploading", "current", "previous", "discarded", "gone"] as const
export type ArchiveStatus = (typeof archiveStatuses)[number]

export interface ArchiveRow {
  readonly r2Key: string
  readonly projectId: ProjectId
  readonly projectUid: string
  readonly generation: number
  /** SHA-256 of the object as read back, lower-case hex; null until committed. */
  readonly r2Checksum: string | null
  /** Bytes; null until committed. */
  readonly size: number | null
  readonly urlExpiresAt: number
  readonly status: ArchiveStatus
  readonly attempts: number
  readonly nextAttemptAt: number | null
  readonly lastError: string | null
  readonly createdAt: number
}

/** `projects/<uid>/<generation, zero-padded so that listings sort>-<random>.db` */
export const archiveKey = (uid: string, generation: number, suffix: string): string =>
  `projects/${uid}/${String(generation).padStart(10, "0")}-${suffix}.db`
