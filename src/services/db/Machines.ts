/** The machine ledger's own transitions: provisioning, pool, bin, what was observed at Fly. See `domain/Machine`. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { MachineName, MachineRow, MachineStatus, NewMachine } from "../../domain/Machine.ts"
import type { Lease } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Claim } from "./Projects.ts"
import type { StoreError } from "./StoreError.ts"

/** A machine as one listing showed it. */
export interface Observation {
  readonly machineId: string
  readonly state: "active" | "suspended" | null
  readonly volumeId: string | null
  readonly privateIp: string | null
}

export class Machines extends Context.Service<
  Machines,
  {
    /** A pool row: provisioning, no project. False where the pool and all other living rows reach `maxMachines`. */
    insertPool(machine: NewMachine, maxMachines: number): Effect.Effect<boolean, StoreError>
    /** A row for one operation's cold path; false where the lease is lost or `maxMachines` is reached. */
    insertFor(
      lease: Lease,
      machine: NewMachine,
      maxMachines: number
    ): Effect.Effect<"inserted" | "lost" | "full", StoreError>
    /** Discards the row that the lease's operation had claimed and claims the next one, in one statement. */
    claimNext(input: {
      readonly lease: Lease
      readonly discard: MachineName
      readonly reason: string
      readonly claim: Claim
    }): Effect.Effect<MachineRow | null, StoreError>
    /**
     * Writes what Fly answered. A row that is no longer provisioning (or, in a rehost, assigned) becomes or stays
     * discarded: the returned row tells. Null: there is no such row.
     */
    recordVolume(
      name: MachineName,
      volume: { readonly volumeId: string; readonly region: string }
    ): Effect.Effect<MachineRow | null, StoreError>
    recordMachine(
      name: MachineName,
      machine: { readonly machineId: string; readonly privateIp: string | null }
    ): Effect.Effect<MachineRow | null, StoreError>
    /** provisioning without a project → ready. */
    markReady(name: MachineName): Effect.Effect<boolean, StoreError>
    /** A rehost in place: the row's machine is confirmed gone, its volume stays; the id is cleared for the next one. */
    clearMachine(lease: Lease, name: MachineName): Effect.Effect<boolean, StoreError>
    /** Into the bin, if the row has one of these statuses and is no project's committed machine. */
    discard(input: {
      readonly name: MachineName
      readonly from: ReadonlyArray<MachineStatus>
      readonly reason: string
    }): Effect.Effect<boolean, StoreError>
    find(name: MachineName): Effect.Effect<MachineRow | null, StoreError>
    /** Rows of the pool: provisioning without a project, and ready. */
    pool: Effect.Effect<ReadonlyArray<MachineRow>, StoreError>
    /** Discarded rows whose next attempt is due, oldest first. */
    bin(limit: number): Effect.Effect<ReadonlyArray<MachineRow>, StoreError>
    binCounts: Effect.Effect<
      { readonly discarded: number; readonly kept: number; readonly failing: number },
      StoreError
    >
    noteFailure(name: MachineName, error: string, retryAfterMs: number): Effect.Effect<void, StoreError>
    /** A discarded row's machine or volume is confirmed gone: its id is forgotten. */
    recordGone(name: MachineName, what: "machine" | "volume"): Effect.Effect<void, StoreError>
    /**
     * discarded → gone, only without ids, and either deletions were recorded or it was absent from two listings and for
     * `absentMs` in the bin (15 minutes unless said otherwise).
     */
    markGone(name: MachineName, absentMs?: number): Effect.Effect<boolean, StoreError>
    /** One complete, non-empty listing was read and these rows were not in it; others of `all` were. */
    countAbsent(names: ReadonlyArray<MachineName>): Effect.Effect<void, StoreError>
    /** assigned rows that no project names as its machine and no running operation could commit → discarded. */
    discardUnnamed(limit: number): Effect.Effect<number, StoreError>
    /** provisioning rows older than `olderThanMs` whose operation (or pool pass) is over → discarded. */
    discardAbandoned(olderThanMs: number, limit: number): Effect.Effect<number, StoreError>
    /** Every row that is not gone: what the reaper and the observer compare a listing with. */
    living: Effect.Effect<ReadonlyArray<MachineRow>, StoreError>
    /**
     * Display state (active ⇄ suspended, with events), volume ids that a migration changed, addresses. `resumed`:
     * projects that went from suspended to active.
     */
    observe(
      observations: ReadonlyArray<Observation>
    ): Effect.Effect<{ readonly changed: number; readonly resumed: ReadonlyArray<ProjectId> }, StoreError>
    /** Forgets `gone` rows older than this. */
    purge(olderThanMs: number, limit: number): Effect.Effect<number, StoreError>

    /**
     * Strays at Fly: one look at ids that stand in no row. Returns those seen by at least two looks with an hour or
     * more between first and last; ids that are not in `seen` any more are forgotten.
     */
    lookAtStrays(
      kind: "machine" | "volume",
      seen: ReadonlyArray<{ readonly id: string; readonly name: string }>,
      minAgeMs: number
    ): Effect.Effect<ReadonlyArray<string>, StoreError>
    /** For tests and the status page. */
    ofProject(projectId: ProjectId): Effect.Effect<ReadonlyArray<MachineRow>, StoreError>
  }
>()("valet/Machines") {}
