/**
 * `Locks` over the shared in-memory database, one session for each instance. `database.sessions.kill(instance)` cuts a
 * session: its tasks are interrupted and fail with `LockLost`, and another instance may take over at once.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { wakeLock } from "../../domain/transitions/Lease.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Locks } from "../../services/locks/Locks.ts"
import { Link } from "../Link.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"

export const layerLocks = (instance: string) =>
  Layer.effect(
    Locks,
    Effect.gen(function* () {
      const { sessions } = yield* MemoryDatabase
      const link = yield* Link
      const projects = yield* Projects

      return Locks.of({
        withTaskLock: (key) => (task) =>
          Effect.acquireUseRelease(
            link("database", "tryLock")(Effect.sync(() => sessions.tryAcquire(key, instance))),
            (held) =>
              held === null ? Effect.succeedNone : Effect.asSome(Effect.raceFirst(Deferred.await(held.lost), task)),
            (held) =>
              held === null ? Effect.void : link("database", "unlock")(Effect.sync(() => sessions.release(key, held)))
          ),
        tryAcquireWakeLock: (input) => projects.beginWake({ ...input, leaseMs: wakeLock.leaseMs }),
        renewWakeLock: (lease) => projects.renew(lease, wakeLock.leaseMs),
        releaseWakeLock: (lease, failure) => projects.failWake({ lease, ...failure })
      })
    })
  )
