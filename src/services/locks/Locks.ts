/**
 * Who may do what alone. Background tasks run under PostgreSQL session advisory locks (#100 pool, #101 sweep, others
 * beside them) on one dedicated session per instance; the per-project wake lock is the operation lease in the row.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Lease } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { Begun, Claim, Refused } from "../db/Projects.ts"
import type { StoreError } from "../db/StoreError.ts"

export const taskLocks = { pool: 100, sweep: 101, discard: 102, observe: 103, reap: 104, recovery: 105 } as const
export type TaskLock = (typeof taskLocks)[keyof typeof taskLocks]

/** The session that held the lock died: the task was interrupted, another instance may already run it. */
export class LockLost extends Schema.TaggedError<LockLost>()("LockLost", { key: Schema.Int, detail: Schema.String }) {
  override get message() {
    return `advisory lock ${this.key} lost: ${this.detail}`
  }
  get retryable(): boolean {
    return true
  }
}

export class Locks extends Context.Service<
  Locks,
  {
    /** Runs the task if nobody holds the key (`pg_try_advisory_lock`: never waits); None: it is held elsewhere. */
    withTaskLock(
      key: TaskLock
    ): <A, E, R>(task: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E | LockLost, R>
    tryAcquireWakeLock(input: {
      readonly projectId: ProjectId
      readonly operationId: string
      readonly claim: Claim | null
      readonly force?: boolean
    }): Effect.Effect<Begun | Refused, StoreError>
    renewWakeLock(lease: Lease): Effect.Effect<boolean, StoreError>
    releaseWakeLock(
      lease: Lease,
      failure: { readonly error: string; readonly retryAfterMs: number | null }
    ): Effect.Effect<boolean, StoreError>
  }
>()("valet/Locks") {}
