/**
 * Keeping the operation lease of a project while its body runs. The lease spares work, it grants nothing: a body whose
 * lease is gone is interrupted early, and one that is not interrupted in time is refused by its commit.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import type { Lease } from "../../domain/Project.ts"
import { Locks } from "../../services/locks/Locks.ts"
import { leaseMs, renewEveryMs } from "./limits.ts"

export class LeaseLost extends Schema.TaggedError<LeaseLost>()("LeaseLost", {
  projectId: Schema.String,
  generation: Schema.Int
}) {
  override get message() {
    return `operation of ${this.projectId} at generation ${this.generation} was taken over`
  }
  get retryable(): boolean {
    return true
  }
}

export const lost = (lease: Lease): LeaseLost =>
  new LeaseLost({ projectId: lease.projectId, generation: lease.generation })

/** The lease is in a Ref, because a machine that has seen a newer generation raises it. */
export const withLease =
  (holder: Ref.Ref<Lease>) =>
  <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E | LeaseLost, R | Locks> =>
    Effect.gen(function* () {
      const locks = yield* Locks
      let renewedAt = yield* Clock.currentTimeMillis
      const renew = Effect.gen(function* () {
        yield* Effect.sleep(renewEveryMs)
        const lease = yield* Ref.get(holder)
        const kept = yield* locks.renewWakeLock(lease).pipe(
          Effect.timeout(renewEveryMs),
          Effect.catch((error) => Effect.as(Effect.logDebug("lease not renewed", error), "unknown" as const))
        )
        const now = yield* Clock.currentTimeMillis
        if (kept === true) renewedAt = now
        // A raise in between makes one renewal miss: only a miss of the lease that is still held counts.
        const current = yield* Ref.get(holder)
        const missed = kept === false && current.generation === lease.generation
        if (missed || now - renewedAt >= leaseMs) return yield* lost(lease)
      })
      return yield* Effect.raceFirst(body, Effect.forever(renew))
    })
