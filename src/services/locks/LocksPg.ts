/** `Locks` in PostgreSQL: task locks are session advisory locks (`LockSession`), wake locks the leases of `Projects`. */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { wakeLock } from "../../domain/transitions/Lease.ts"
import { Database } from "../db/Database.ts"
import { Projects } from "../db/Projects.ts"
import { LockLost, Locks, type TaskLock } from "./Locks.ts"
import { type LockSession, makeLockSessions } from "./LockSession.ts"

/** `serverPatience`: after which silence of this process the server frees its locks; by default 9 s. */
const make = (serverPatience?: Duration.Duration) =>
  Effect.gen(function* () {
    const { direct } = yield* Database
    const projects = yield* Projects
    const sessions = yield* makeLockSessions(direct, serverPatience)
    // PostgreSQL lets a session take the same lock twice; within the instance this set refuses it.
    const held = new Set<TaskLock>()

    const acquire = Effect.fnUntraced(function* (key: TaskLock) {
      if (held.has(key)) return null
      held.add(key)
      const session = yield* sessions.session.pipe(
        Effect.mapError((error) => new LockLost({ key, detail: error.message })),
        Effect.tapError(() => Effect.sync(() => held.delete(key)))
      )
      const answer = yield* sessions.ask(session, "SELECT pg_try_advisory_lock($1::bigint)", [key])
      if (answer === true) return session
      held.delete(key)
      return answer === false ? null : yield* new LockLost({ key, detail: "not known to be acquired" })
    })

    const release = Effect.fnUntraced(function* (key: TaskLock, session: LockSession) {
      if (!(yield* Deferred.isDone(session.lost))) {
        const answer = yield* sessions.ask(session, "SELECT pg_advisory_unlock($1::bigint)", [key])
        if (answer === false) yield* sessions.close(session, "it did not hold a lock that it was to release")
      }
      held.delete(key)
    })

    return Locks.of({
      withTaskLock: (key) => (task) =>
        Effect.acquireUseRelease(
          acquire(key),
          (session) =>
            session === null
              ? Effect.succeedNone
              : Effect.asSome(
                  Effect.raceFirst(
                    Effect.mapError(Deferred.await(session.lost), (detail) => new LockLost({ key, detail })),
                    task
                  )
                ),
          (session) => (session === null ? Effect.void : release(key, session))
        ),
      tryAcquireWakeLock: (input) => projects.beginWake({ ...input, leaseMs: wakeLock.leaseMs }),
      renewWakeLock: (lease) => projects.renew(lease, wakeLock.leaseMs),
      releaseWakeLock: (lease, failure) => projects.failWake({ lease, ...failure })
    })
  })
export const layerLocksPg: Layer.Layer<Locks, never, Database | Projects> = Layer.effect(Locks, make())

export const layerLocksPgWith = (serverPatience: Duration.Duration): Layer.Layer<Locks, never, Database | Projects> =>
  Layer.effect(Locks, make(serverPatience))
