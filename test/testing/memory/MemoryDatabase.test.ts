/** What the in-memory database offers tests beside the stores: faults, hints that get lost, its own clock, dead sessions. */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { taskLocks } from "../../../src/services/locks/Locks.ts"
import { type Change, Projects } from "../../../src/services/db/Projects.ts"
import { MemoryDatabase } from "../../../src/testing/memory/MemoryDatabase.ts"
import { layerInstance, layerMemoryStores } from "../../../src/testing/memory/MemoryStores.ts"
import { type StoreFault, StoreFaults } from "../../../src/testing/memory/StoreFaults.ts"
import { newProject, projectId } from "../../contract/stores/Given.ts"

it.effect("a fault before did not happen, one after did, and both say so", () =>
  Effect.gen(function* () {
    const next = yield* Ref.make<StoreFault>("none")
    const faulty = Layer.succeed(StoreFaults, () => Ref.get(next))
    const stores = layerInstance("one").pipe(Layer.provide(faulty), Layer.provideMerge(MemoryDatabase.layer))
    yield* Effect.gen(function* () {
      const database = yield* MemoryDatabase
      const projects = yield* Projects
      const exists = Effect.map(database.snapshot, ({ projects }) => projects.has(projectId("red")))

      yield* Ref.set(next, "before")
      const lost = yield* Effect.flip(projects.create(newProject("red")))
      assert.strictEqual(lost.reason, "Unavailable")
      assert.isTrue(lost.retryable)
      assert.isFalse(yield* exists)

      yield* Ref.set(next, "after")
      const unknown = yield* Effect.flip(projects.create(newProject("red")))
      assert.strictEqual(unknown.reason, "UnknownOutcome")
      assert.isFalse(unknown.retryable)
      assert.isTrue(yield* exists)
    }).pipe(Effect.provide(stores))
  })
)

it.effect("instances share the rows, and each has faults of its own", () =>
  Effect.gen(function* () {
    const faulty = Layer.succeed(StoreFaults, () => Effect.succeed("before" as const))
    const instance = (name: string, faults: Layer.Layer<never>) =>
      Layer.build(layerInstance(name).pipe(Layer.provide(faults))).pipe(
        Effect.flatMap((context) => Effect.provide(Projects, context))
      )
    const one = yield* instance("one", Layer.empty)
    const two = yield* instance("two", faulty)
    yield* one.create(newProject("red"))
    assert.strictEqual((yield* one.find(projectId("red")))._tag, "Some")
    assert.strictEqual((yield* Effect.flip(two.find(projectId("red")))).reason, "Unavailable")
  }).pipe(Effect.provide(MemoryDatabase.layer))
)

const subscribe = Effect.gen(function* () {
  const projects = yield* Projects
  const queue = yield* Queue.unbounded<Change>()
  yield* projects.changes.pipe(
    Stream.runForEach((change) => Queue.offer(queue, change)),
    Effect.tapCause(Effect.logError),
    Effect.forkScoped
  )
  assert.strictEqual((yield* Queue.take(queue))._tag, "Resync")
  return queue
})

it.effect("listeners that were dropped are told to read anew", () =>
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const queue = yield* subscribe
    yield* database.dropListeners
    assert.strictEqual((yield* Queue.take(queue))._tag, "Resync")
  }).pipe(Effect.provide(layerMemoryStores))
)

it.effect("a subscriber that lags too far behind is told so, and gets the newest", () =>
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const projects = yield* Projects
    const begun = yield* Latch.make()
    const go = yield* Latch.make()
    const seen: Array<Change> = []
    const subscriber = yield* projects.changes.pipe(
      Stream.tap(() => Effect.andThen(begun.open, go.await)),
      Stream.takeUntil((change) => change._tag === "Changed" && change.projectId === projectId("p2999")),
      Stream.runForEach((change) => Effect.sync(() => seen.push(change))),
      Effect.forkScoped
    )
    yield* begun.await
    for (let i = 0; i < 3000; i++) yield* database.atomically(() => database.notify(projectId(`p${i}`)))
    yield* go.open
    yield* Fiber.join(subscriber)
    assert.isBelow(seen.length, 2000)
    assert.strictEqual(seen.filter(({ _tag }) => _tag === "Resync").length, 2)
  }).pipe(Effect.provide(layerMemoryStores))
)

it.effect("a subscriber never sees the middle of a transaction", () =>
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const projects = yield* Projects
    let inside = false
    const seen = yield* Queue.unbounded<boolean>()
    yield* projects.changes.pipe(
      Stream.runForEach(() => Effect.suspend(() => Queue.offer(seen, inside))),
      Effect.tapCause(Effect.logError),
      Effect.forkScoped
    )
    yield* Queue.take(seen)
    yield* Effect.yieldNow
    yield* database.atomically(() => {
      inside = true
      database.notify(projectId("red"))
      inside = false
    })
    assert.isFalse(yield* Queue.take(seen))
  }).pipe(Effect.provide(layerMemoryStores))
)

it.effect("its time is its own, whatever a client's clock says", () =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const clock = yield* Clock.Clock
    const late: Clock.Clock = { ...clock, currentTimeMillisUnsafe: () => 1_000_000 }
    const outcome = yield* projects.create(newProject("red")).pipe(Effect.provideService(Clock.Clock, late))
    assert.strictEqual(outcome._tag === "Begun" && outcome.project.createdAt, clock.currentTimeMillisUnsafe())
  }).pipe(Effect.provide(layerMemoryStores))
)

it.effect("a dead session holds nothing, and a release that comes late frees no one else's lock", () =>
  Effect.gen(function* () {
    const { sessions } = yield* MemoryDatabase
    const late = sessions.tryAcquire(taskLocks.pool, "one")
    assert.deepStrictEqual(sessions.heldBy("one"), [taskLocks.pool])
    yield* sessions.kill("one")
    assert.deepStrictEqual(sessions.heldBy("one"), [])
    assert.isNotNull(sessions.tryAcquire(taskLocks.pool, "two"))
    if (late !== null) sessions.release(taskLocks.pool, late)
    assert.deepStrictEqual(sessions.heldBy("two"), [taskLocks.pool])
  }).pipe(Effect.provide(MemoryDatabase.layer))
)
