/**
 * The projects table and its transitions. Each method is one statement or one transaction, compare-and-set, by the
 * database's clock; secondary writes (machines, archives, events) read from the row that was compared, and every
 * transition writes its event and notifies `changes` in the same transaction.
 *
 * The rules are the pure functions of `domain/transitions`; the memory store runs them, the PostgreSQL store says the
 * same in SQL, and one suite of tests holds both to them.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { ProjectEvent } from "../../domain/Event.ts"
import type { MachineName, MachineRow } from "../../domain/Machine.ts"
import type { Lease, Operation, Project, ProjectState, SealedKey, Settings } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Window } from "../../domain/RateLimit.ts"
import type { StoreError } from "./StoreError.ts"

/** A project and the ledger row that its `machine` names. */
export interface ProjectView {
  readonly project: Project
  readonly machine: MachineRow | null
}

/** Which ready pool machine a begin may claim in the same statement; the oldest that fits. */
export interface Claim {
  readonly image: string
  readonly region: string
}

export interface CreateProject {
  readonly projectId: ProjectId
  readonly uid: string
  readonly region: string
  readonly deployKey: SealedKey
  readonly idleTimeoutSeconds: number | null
  readonly operationId: string
  readonly leaseMs: number
  readonly claim: Claim | null
  /** Sliding windows for this client; null where it is not limited. Only accepted creates count. */
  readonly limit: { readonly client: string; readonly windows: ReadonlyArray<Window> } | null
  /** A second create with the same key from the same client within 24 h gets the first one's project. */
  readonly idempotency: { readonly client: string; readonly key: string } | null
}

export interface Begun {
  readonly _tag: "Begun"
  readonly project: Project
  /** Claimed from the pool by this begin. */
  readonly machine: MachineRow | null
  /** The project's current archive. */
  readonly archive: ArchiveRow | null
}
/** The compare failed; the row as it is now, null where there is none. */
export interface Refused {
  readonly _tag: "Refused"
  readonly view: ProjectView | null
}

export type CreateOutcome =
  | Begun
  | { readonly _tag: "Repeated"; readonly view: ProjectView }
  | { readonly _tag: "RateLimited"; readonly retryAfterMs: number }
  /** The id was used before, by a living project or a tombstone. */
  | { readonly _tag: "Exists" }

export interface BegunArchive {
  readonly _tag: "Begun"
  readonly project: Project
  readonly machine: MachineRow
}

export interface BegunRehost {
  readonly _tag: "Begun"
  readonly project: Project
  readonly machine: MachineRow
}

export type Change = { readonly _tag: "Resync" } | { readonly _tag: "Changed"; readonly projectId: ProjectId }

export interface RouteRow {
  readonly state: ProjectState
  readonly operation: Operation
  readonly dataUnavailable: boolean
  /** Of the machine that serves it, once Fly has told it. */
  readonly machineId: string | null
}

export const routeRow = ({ machine, project }: ProjectView): RouteRow => ({
  state: project.state,
  operation: project.operation,
  dataUnavailable: project.dataUnavailable,
  machineId: machine?.machineId ?? null
})

export class Projects extends Context.Service<
  Projects,
  {
    /** Inserts the row, dormant and creating at generation 1, and claims. Limits are exact across instances. */
    create(input: CreateProject): Effect.Effect<CreateOutcome, StoreError>
    find(projectId: ProjectId): Effect.Effect<Option.Option<ProjectView>, StoreError>
    /** What a route needs of each of these, in one statement; who is not in it does not exist. */
    routes(projectIds: ReadonlyArray<ProjectId>): Effect.Effect<ReadonlyMap<string, RouteRow>, StoreError>

    /**
     * dormant (none, or creating/waking with an expired lease) → waking, generation + 1, and the claim. Refuses while
     * `nextAttemptAt` is ahead, unless `force`. Taking over discards every machine row of the project with an older
     * generation that is not its machine. Like all that ends an operation, it may miss a row that the former holder
     * made or claimed at the same time: that one has an older generation, which no commit takes, and is discarded by
     * `discardUnnamed` and `discardAbandoned` (an upload by the archives' `discardAbandoned`).
     */
    beginWake(input: {
      readonly projectId: ProjectId
      readonly operationId: string
      readonly leaseMs: number
      readonly claim: Claim | null
      readonly force?: boolean
    }): Effect.Effect<Begun | Refused, StoreError>
    /** Extends the lease if the operation is still the caller's. */
    renew(lease: Lease, leaseMs: number): Effect.Effect<boolean, StoreError>
    /**
     * creating/waking/rehosting → active, dirty, none; last_active_at is now; attempts cleared; the machine row becomes
     * (stays) assigned and `served`; the project's other rows with generations up to this one are discarded. After a
     * rehost onto a fork the old row is also `released`; not where data was unavailable: what is served then was made
     * of a snapshot, and the lost volume stays if it returns. Null: the lease is lost or the row is not assignable.
     */
    commitActive(input: {
      readonly lease: Lease
      readonly machine: MachineName
    }): Effect.Effect<ProjectView | null, StoreError>
    /**
     * creating/waking → dormant, none; attempts + 1; `retryAfterMs` sets `nextAttemptAt` (null: at once); its machine
     * rows are discarded. `wake_failed` event with the error.
     */
    failWake(input: {
      readonly lease: Lease
      readonly error: string
      readonly retryAfterMs: number | null
    }): Effect.Effect<boolean, StoreError>

    /**
     * active/suspended (none), not pinned, idle for `idleMs` (each project's own threshold wins) and `nextAttemptAt`
     * not ahead → archiving, generation + 1. `force` (an operator's or owner's sleep) skips idle, pinned and attempts.
     */
    beginArchive(input: {
      readonly projectId: ProjectId
      readonly operationId: string
      readonly leaseMs: number
      readonly idleMs: number
      readonly force: boolean
    }): Effect.Effect<BegunArchive | Refused, StoreError>
    /** Writes the archive row (uploading) and sets `uploading`, before its URL is signed. */
    startUpload(input: {
      readonly lease: Lease
      readonly r2Key: string
      readonly urlExpiresInMs: number
    }): Effect.Effect<boolean, StoreError>
    /**
     * archiving → dormant, none, not dirty, no machine; the archive current, the one before previous, older ones
     * discarded; the machine row discarded and released, not to be deleted before `machineDeleteAfterMs` from now.
     */
    commitArchive(input: {
      readonly lease: Lease
      readonly r2Key: string
      readonly r2Checksum: string
      readonly size: number
      readonly machineDeleteAfterMs: number
    }): Effect.Effect<boolean, StoreError>
    /**
     * archiving → active, none, generation + 1 (at least `minGeneration`), upload row discarded. With `lease`: the
     * holder gives up. With `takeover`: anybody, if the lease has expired or the upload has not begun. `busy` moves
     * last_active_at to `idleSeconds` ago. `backoffMs` sets nextAttemptAt and counts an attempt. The caller unseals the
     * machine afterwards, with the generation of the row that it gets back; never before.
     */
    abortArchive(input: {
      readonly projectId: ProjectId
      readonly by: { readonly _tag: "Holder"; readonly lease: Lease } | { readonly _tag: "Takeover" }
      readonly idleSeconds: number | null
      readonly backoffMs: number | null
      readonly error: string | null
      readonly minGeneration?: number
    }): Effect.Effect<ProjectView | null, StoreError>

    /**
     * active/suspended (none, or rehosting with an expired lease), machine as expected → rehosting, generation + 1.
     * Refuses while `nextAttemptAt` is ahead or data is unavailable, unless `force` or where it takes over.
     */
    beginRehost(input: {
      readonly projectId: ProjectId
      readonly operationId: string
      readonly leaseMs: number
      readonly machine: MachineName
      readonly reason: string
      readonly force?: boolean
    }): Effect.Effect<BegunRehost | Refused, StoreError>
    /**
     * rehosting → active, none, generation + 1, the same machine row; forks made for it are discarded. Attempts + 1.
     * `dataUnavailable`: machine and volume are both confirmed gone while dirty; an event names what may be missing.
     */
    failRehost(input: {
      readonly lease: Lease
      readonly error: string
      readonly retryAfterMs: number
      readonly dataUnavailable: boolean
    }): Effect.Effect<boolean, StoreError>
    /** The newest generation that a machine told us is above ours: the operation's generation becomes newest + 1. */
    raiseGeneration(lease: Lease, newest: number): Effect.Effect<Lease | null, StoreError>

    /** any (none, or any operation if `force` or its lease has expired) → deleting, generation + 1. */
    beginDelete(input: {
      readonly projectId: ProjectId
      readonly operationId: string
      readonly leaseMs: number
      readonly force: boolean
    }): Effect.Effect<{ readonly _tag: "Begun"; readonly project: Project } | Refused, StoreError>
    /** deleting → tombstone: machines discarded and released (not before `machineDeleteAfterMs`), archives discarded. */
    commitDelete(input: {
      readonly lease: Lease
      readonly machineDeleteAfterMs: number
    }): Effect.Effect<boolean, StoreError>
    /**
     * Only while data is unavailable and no operation runs: → dormant, not dirty, no machine. `empty` also retires the
     * current archive (to previous). The old machine row is discarded but not released: its volume stays if it returns.
     */
    recover(input: {
      readonly projectId: ProjectId
      readonly from: "archive" | "empty"
    }): Effect.Effect<Project | null, StoreError>

    updateSettings(
      projectId: ProjectId,
      patch: Partial<Settings>
    ): Effect.Effect<Option.Option<ProjectView>, StoreError>
    /** last_active_at to now for each of them that is not a tombstone; one statement. */
    touch(projectIds: ReadonlyArray<ProjectId>): Effect.Effect<void, StoreError>
    /** Newest first; the cursor is opaque to callers and `Broken` where it is not one of ours. */
    list(input: {
      readonly state: ProjectState | null
      readonly cursor: string | null
      readonly limit: number
    }): Effect.Effect<{ readonly projects: ReadonlyArray<Project>; readonly next: string | null }, StoreError>
    counts: Effect.Effect<
      {
        readonly states: Readonly<Record<ProjectState, number>>
        readonly operations: Readonly<Record<Operation, number>>
        readonly dataUnavailable: number
      },
      StoreError
    >
    /** Running operations, oldest first, for the status page. */
    running(limit: number): Effect.Effect<ReadonlyArray<Project>, StoreError>
    /** What a sweep may archive, by the day (UTC) of its last activity, then by id; pages continue behind `after`. */
    idleCandidates(input: {
      readonly idleMs: number
      readonly limit: number
      readonly after: { readonly lastActiveAt: number; readonly projectId: ProjectId } | null
    }): Effect.Effect<ReadonlyArray<{ readonly projectId: ProjectId; readonly lastActiveAt: number }>, StoreError>
    /** Operations whose lease has expired, oldest first. */
    expiredLeases(limit: number): Effect.Effect<ReadonlyArray<Project>, StoreError>
    /** creating/waking with an expired lease → dormant, none, generation + 1, machine rows discarded. */
    expireWake(projectId: ProjectId): Effect.Effect<boolean, StoreError>
    events(input: {
      readonly projectId: ProjectId
      readonly limit: number
      readonly before: number | null
    }): Effect.Effect<ReadonlyArray<ProjectEvent>, StoreError>
    /** An event that belongs to no transition (a refused archive, a missing object). */
    record(input: {
      readonly projectId: ProjectId
      readonly kind: ProjectEvent["kind"]
      readonly detail: ProjectEvent["detail"]
    }): Effect.Effect<void, StoreError>
    /** Hints: a `Resync` first and after every reconnect (what was missed is unknown), then a row each. Never fails. */
    changes: Stream.Stream<Change>
  }
>()("valet/Projects") {}
