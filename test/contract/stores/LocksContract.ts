/** `Locks` of two instances over one database: task locks on a session each, the wake lock in the project's row. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { leaseOf } from "../../../src/domain/Project.ts"
import { type Locks, LockLost, taskLocks } from "../../../src/services/locks/Locks.ts"
import * as given from "./Given.ts"
import { advance, minute, second, type StoreHarness, type Stores } from "./StoreHarness.ts"

export class LockInstances extends Context.Service<
  LockInstances,
  {
    readonly one: Locks["Service"]
    readonly two: Locks["Service"]
    /** The session of instance one dies without a word to it. */
    readonly killOne: Effect.Effect<void>
  }
>()("test/LockInstances") {}

/** How long a live database may take to notice that a session died. */
const soon = Schedule.spaced("10 millis").pipe(Schedule.upTo({ times: 500 }))

/** Runs a task under the lock until it is released; `held` says that it began. */
const holding = (locks: Locks["Service"], key: (typeof taskLocks)[keyof typeof taskLocks]) =>
  Effect.gen(function* () {
    const held = yield* Deferred.make<void>()
    const release = yield* Deferred.make<void>()
    const interrupted = yield* Deferred.make<void>()
    const fiber = yield* Deferred.succeed(held, undefined).pipe(
      Effect.andThen(Deferred.await(release)),
      Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined)),
      locks.withTaskLock(key),
      Effect.forkScoped
    )
    yield* Deferred.await(held)
    return { fiber, release: Deferred.succeed(release, undefined), interrupted: Deferred.await(interrupted) }
  })

export const locksContract = (
  harness: Pick<StoreHarness, "name" | "clock"> & { readonly layer: Layer.Layer<Stores | LockInstances, unknown> }
): void => {
  const test = (name: string, body: () => Effect.Effect<void, unknown, Stores | LockInstances>) =>
    (harness.clock === "test" ? it.effect : it.live)(name, () => Effect.provide(body(), harness.layer))

  describe(`${harness.name}: task locks`, () => {
    test("one instance at a time, and it does not wait", () =>
      Effect.gen(function* () {
        const { one, two } = yield* LockInstances
        const holder = yield* holding(one, taskLocks.pool)
        assert.deepStrictEqual(yield* two.withTaskLock(taskLocks.pool)(Effect.succeed(1)), Option.none())
        assert.deepStrictEqual(yield* one.withTaskLock(taskLocks.pool)(Effect.succeed(1)), Option.none())
        assert.deepStrictEqual(yield* two.withTaskLock(taskLocks.sweep)(Effect.succeed(2)), Option.some(2))
        yield* holder.release
        assert.isTrue(Option.isSome(yield* Fiber.join(holder.fiber)))
        assert.deepStrictEqual(yield* two.withTaskLock(taskLocks.pool)(Effect.succeed(3)), Option.some(3))
        assert.deepStrictEqual(yield* one.withTaskLock(taskLocks.pool)(Effect.succeed(4)), Option.some(4))
      }).pipe(Effect.scoped))

    test("released by failure, defect and interruption", () =>
      Effect.gen(function* () {
        const { one, two } = yield* LockInstances
        const lock = one.withTaskLock(taskLocks.reap)
        const free = Effect.map(two.withTaskLock(taskLocks.reap)(Effect.void), Option.isSome)
        assert.strictEqual(yield* Effect.flip(lock(Effect.fail("failure"))), "failure")
        assert.isTrue(yield* free)
        yield* Effect.exit(lock(Effect.die("defect")))
        assert.isTrue(yield* free)
        const holder = yield* holding(one, taskLocks.reap)
        yield* Fiber.interrupt(holder.fiber)
        yield* holder.interrupted
        assert.isTrue(yield* free)
      }).pipe(Effect.scoped))

    test("of many at once exactly one runs", () =>
      Effect.gen(function* () {
        const { one, two } = yield* LockInstances
        const go = yield* Deferred.make<void>()
        const allRefused = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        let running = 0
        let refused = 0
        const task = Effect.suspend(() => {
          running += 1
          return Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
        })
        const attempt = (locks: Locks["Service"]) =>
          Effect.tap(locks.withTaskLock(taskLocks.observe)(task), (outcome) => {
            refused += Option.isNone(outcome) ? 1 : 0
            return refused === 19 ? Deferred.succeed(allRefused, undefined) : Effect.void
          })
        const fibers = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => Effect.forkScoped(attempt(i % 2 === 0 ? one : two))
        )
        yield* Deferred.await(allRefused)
        // Who got it may hear of that after the others have heard that they did not.
        yield* Deferred.await(begun)
        assert.strictEqual(running, 1)
        yield* Deferred.succeed(go, undefined)
        const outcomes = yield* Effect.forEach(fibers, Fiber.join)
        assert.strictEqual(outcomes.filter(Option.isSome).length, 1)
        assert.strictEqual(running, 1)
      }).pipe(Effect.scoped))

    test("a session that dies interrupts its tasks with LockLost, and another instance takes over", () =>
      Effect.gen(function* () {
        const { killOne, one, two } = yield* LockInstances
        const pool = yield* holding(one, taskLocks.pool)
        const sweep = yield* holding(one, taskLocks.sweep)
        yield* killOne
        for (const { fiber, interrupted } of [pool, sweep]) {
          yield* interrupted
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert.instanceOf(error, LockLost)
          assert.isTrue(error.retryable)
        }
        const taken = two
          .withTaskLock(taskLocks.pool)(Effect.succeed("two"))
          .pipe(Effect.flatMap(Effect.fromOption), Effect.retry(soon))
        assert.strictEqual(yield* taken, "two")
        const again = one
          .withTaskLock(taskLocks.sweep)(Effect.succeed("one"))
          .pipe(Effect.flatMap(Effect.fromOption), Effect.retry(soon))
        assert.strictEqual(yield* again, "one")
      }).pipe(Effect.scoped))
  })

  describe(`${harness.name}: wake lock`, () => {
    const acquire = (locks: Locks["Service"], id: string, operationId: string) =>
      locks.tryAcquireWakeLock({ projectId: given.projectId(id), operationId, claim: null })

    test("for ten seconds; renewed by its holder; taken over afterwards", () =>
      Effect.gen(function* () {
        const { one, two } = yield* LockInstances
        yield* given.dormant("red")
        const { project } = given.begun(yield* acquire(one, "red", "w1"))
        assert.strictEqual((yield* acquire(two, "red", "w2"))._tag, "Refused")
        yield* advance(6 * second)
        assert.isTrue(yield* one.renewWakeLock(leaseOf(project)))
        yield* advance(6 * second)
        assert.strictEqual((yield* acquire(two, "red", "w2"))._tag, "Refused")
        yield* advance(4 * second)
        const taken = given.begun(yield* acquire(two, "red", "w2"))
        assert.strictEqual(taken.project.generation, project.generation + 1)
        assert.isFalse(yield* one.renewWakeLock(leaseOf(project)))
        assert.isFalse(yield* one.releaseWakeLock(leaseOf(project), { error: "late", retryAfterMs: null }))
      }))

    test("released with a failure, the next wake waits for its attempt", () =>
      Effect.gen(function* () {
        const { one, two } = yield* LockInstances
        yield* given.dormant("red")
        const { project } = given.begun(yield* acquire(one, "red", "w1"))
        assert.isTrue(yield* one.releaseWakeLock(leaseOf(project), { error: "no capacity", retryAfterMs: minute }))
        assert.strictEqual((yield* acquire(two, "red", "w2"))._tag, "Refused")
        yield* advance(minute)
        assert.strictEqual((yield* acquire(two, "red", "w2"))._tag, "Begun")
      }))
  })
}
