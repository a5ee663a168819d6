/**
 * The steps of a random history. They name projects and machines by number and leases by age, so that a history is a
 * plain value; what these stand for is found out while it runs. Every duration is whole minutes.
 */
export type Which = "last" | "older"

export type Step =
  | { readonly op: "advance"; readonly minutes: number }
  | {
      readonly op: "create"
      readonly project: number
      readonly claims: boolean
      readonly client: number | null
      readonly key: number | null
    }
  | { readonly op: "beginWake"; readonly project: number; readonly claims: boolean; readonly force: boolean }
  | { readonly op: "renew"; readonly project: number; readonly lease: Which; readonly minutes: number }
  | {
      readonly op: "commitActive"
      readonly project: number
      readonly lease: Which
      readonly machine: number | "newest"
    }
  | { readonly op: "failWake"; readonly project: number; readonly lease: Which; readonly minutes: number | null }
  | { readonly op: "expireWake"; readonly project: number }
  | { readonly op: "beginArchive"; readonly project: number; readonly force: boolean }
  | { readonly op: "startUpload"; readonly project: number; readonly lease: Which; readonly again: boolean }
  | { readonly op: "commitArchive"; readonly project: number; readonly lease: Which; readonly minutes: number }
  | {
      readonly op: "abortArchive"
      readonly project: number
      readonly lease: Which | "takeover"
      readonly idleMinutes: number | null
      readonly backoffMinutes: number | null
      readonly error: string | null
      readonly minGeneration: number
    }
  | { readonly op: "beginRehost"; readonly project: number; readonly force: boolean }
  | { readonly op: "failRehost"; readonly project: number; readonly lease: Which; readonly lost: boolean }
  | { readonly op: "raiseGeneration"; readonly project: number; readonly lease: Which; readonly by: number }
  | { readonly op: "beginDelete"; readonly project: number; readonly force: boolean }
  | { readonly op: "commitDelete"; readonly project: number; readonly lease: Which; readonly minutes: number }
  | { readonly op: "recover"; readonly project: number; readonly from: "archive" | "empty" }
  | {
      readonly op: "updateSettings"
      readonly project: number
      readonly pinned: boolean
      readonly thresholdMinutes: number | null
    }
  | { readonly op: "touch"; readonly project: number }
  | { readonly op: "record"; readonly project: number }
  | { readonly op: "insertPool"; readonly region: string }
  | { readonly op: "addReady"; readonly region: string }
  | { readonly op: "insertFor"; readonly project: number; readonly lease: Which; readonly recorded: boolean }
  | { readonly op: "claimNext"; readonly project: number; readonly lease: Which; readonly machine: number }
  | { readonly op: "recordVolume"; readonly machine: number; readonly again: boolean }
  | { readonly op: "recordMachine"; readonly machine: number; readonly again: boolean }
  | { readonly op: "markReady"; readonly machine: number }
  | { readonly op: "clearMachine"; readonly project: number; readonly lease: Which }
  | { readonly op: "discard"; readonly machine: number; readonly any: boolean }
  | { readonly op: "noteFailure"; readonly machine: number; readonly minutes: number }
  | { readonly op: "recordGone"; readonly machine: number; readonly what: "machine" | "volume" }
  | { readonly op: "markGone"; readonly machine: number }
  | { readonly op: "countAbsent"; readonly everySo: number }
  | { readonly op: "discardUnnamed" }
  | { readonly op: "discardAbandoned"; readonly minutes: number }
  | {
      readonly op: "observe"
      readonly project: number
      readonly state: "active" | "suspended" | null
      readonly moved: boolean
    }
  | { readonly op: "purge"; readonly minutes: number }
  | { readonly op: "lookAtStrays"; readonly machine: number; readonly minutes: number }
  | { readonly op: "discardUploads" }
  | { readonly op: "archiveFailure"; readonly archive: number; readonly minutes: number }
  | { readonly op: "archiveGone"; readonly archive: number }
  | { readonly op: "book"; readonly bucket: number; readonly reserve: number; readonly maxMinutes: number }
  | { readonly op: "queries"; readonly idleMinutes: number; readonly marginMinutes: number }

export interface History {
  readonly seed: number
  readonly steps: ReadonlyArray<Step>
}
