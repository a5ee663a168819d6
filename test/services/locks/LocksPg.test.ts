/** What only a real database shows: sessions that die without a word, and processes that freeze. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import { LockLost, Locks, taskLocks } from "../../../src/services/locks/Locks.ts"
import { layerLocksPgWith } from "../../../src/services/locks/LocksPg.ts"
import * as given from "../../contract/stores/Given.ts"
import { eventually, eventuallyLive } from "../../support/eventually.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { layerInstance, layerStores, sharedByFile, TestDatabase } from "../../support/TestDatabase.ts"

const stores = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layerStores)))

const otherLocks = Effect.flatMap(Layer.build(layerInstance), (context) => Effect.provide(Locks, context))

/** Holds the lock until it is interrupted. */
const hold = (locks: Locks["Service"], key: (typeof taskLocks)[keyof typeof taskLocks]) =>
  Effect.gen(function* () {
    const began = yield* Deferred.make<void>()
    const fiber = yield* Deferred.succeed(began, undefined).pipe(
      Effect.andThen(Effect.never),
      locks.withTaskLock(key),
      Effect.flip,
      Effect.forkScoped
    )
    yield* Deferred.await(began)
    return fiber
  })

const isFree = (locks: Locks["Service"], key: (typeof taskLocks)[keyof typeof taskLocks]) =>
  locks
    .withTaskLock(key)(Effect.void)
    .pipe(
      Effect.map(Option.isSome),
      Effect.catchTag("LockLost", () => Effect.succeed(false))
    )

describe("locks on sessions", () => {
  it.live("a session that is terminated in the middle of a task interrupts it, and another instance takes over", () =>
    Effect.gen(function* () {
      const one = yield* Locks
      const two = yield* otherLocks
      const { terminate } = yield* TestDatabase
      const holder = yield* hold(one, taskLocks.sweep)
      assert.isFalse(yield* isFree(two, taskLocks.sweep))
      assert.isAbove(yield* terminate("valet-locks"), 0)
      assert.instanceOf(yield* Fiber.join(holder), LockLost)
      yield* eventually(isFree(two, taskLocks.sweep))
    }).pipe(Effect.provide(stores))
  )

  it.live("a session that dies while it acquires or releases is never believed to hold anything", () =>
    Effect.gen(function* () {
      const locks = yield* otherLocks
      const { query, terminate } = yield* TestDatabase
      for (let round = 0; round < 20; round++) {
        yield* Effect.all(
          [locks.withTaskLock(taskLocks.reap)(Effect.void).pipe(Effect.exit), terminate("valet-locks")],
          {
            concurrency: 2
          }
        )
      }
      yield* eventually(isFree(locks, taskLocks.reap))
      const held = yield* query(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
      )
      assert.deepStrictEqual(held, [])
    }).pipe(Effect.provide(stores))
  )

  it.effect("a process that freezes loses its locks to another one, and learns it when it goes on", () =>
    Effect.gen(function* () {
      // Under a test clock that stands still the instance's heart does not beat, as in a stopped process.
      const context = yield* Layer.build(Layer.fresh(layerLocksPgWith(Duration.seconds(1))))
      const frozen = yield* Effect.provide(Locks, context)
      const other = yield* otherLocks
      const projects = yield* Projects
      const { advance } = yield* TestDatabase
      const holder = yield* hold(frozen, taskLocks.pool)
      yield* given.dormant("red")
      const wake = { projectId: given.projectId("red"), claim: null }
      const { project } = given.begun(yield* frozen.tryAcquireWakeLock({ ...wake, operationId: "frozen" }))
      const machine = yield* given.cold(leaseOf(project), "cold1")

      yield* eventuallyLive(isFree(other, taskLocks.pool))
      yield* advance(10_000)
      given.begun(yield* other.tryAcquireWakeLock({ ...wake, operationId: "other" }))

      assert.isNull(yield* projects.commitActive({ lease: leaseOf(project), machine }))
      yield* TestClock.adjust("1 second")
      assert.instanceOf(yield* Fiber.join(holder), LockLost)
    }).pipe(Effect.provide(stores))
  )

  it.live("a task's failure and its lock's loss are told apart; a session serves many tasks", () =>
    Effect.gen(function* () {
      const locks = yield* Locks
      const { query } = yield* TestDatabase
      assert.strictEqual(yield* Effect.flip(locks.withTaskLock(taskLocks.discard)(Effect.fail("own"))), "own")
      const both = yield* Effect.all(
        [
          locks.withTaskLock(taskLocks.pool)(Effect.succeed(1)),
          locks.withTaskLock(taskLocks.sweep)(Effect.succeed(2)),
          locks.withTaskLock(taskLocks.observe)(Effect.succeed(3))
        ],
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(both, [Option.some(1), Option.some(2), Option.some(3)])
      const sessions = yield* query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'valet-locks'"
      )
      assert.strictEqual(sessions.length, 1)
    }).pipe(Effect.provide(stores))
  )
})
