import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { Locks, taskLocks } from "../../../src/services/locks/Locks.ts"
import { MemoryDatabase } from "../../../src/testing/memory/MemoryDatabase.ts"
import { layerInstance } from "../../../src/testing/memory/MemoryStores.ts"
import { LockInstances, locksContract } from "../../contract/stores/LocksContract.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"

const time = Layer.succeed(StoreTime, { advance: (ms) => TestClock.adjust(ms), driftMs: 0 })

const instances = Layer.effect(
  LockInstances,
  Effect.gen(function* () {
    const { sessions } = yield* MemoryDatabase
    const one = yield* Layer.build(layerInstance("one"))
    const two = yield* Layer.build(layerInstance("two"))
    return {
      one: yield* Effect.provide(Locks, one),
      two: yield* Effect.provide(Locks, two),
      killOne: sessions.kill("one")
    }
  })
)

locksContract({
  name: "memory",
  clock: "test",
  layer: Layer.mergeAll(instances, layerInstance("test"), time).pipe(Layer.provide(MemoryDatabase.layer))
})

describe("an instance that is gone", () => {
  it.effect("gets no lock any more, one that it had asked for included", () =>
    Effect.gen(function* () {
      const { sessions } = yield* MemoryDatabase
      const gone = yield* Effect.provide(Locks, yield* Layer.build(layerInstance("gone")))
      const left = yield* Effect.provide(Locks, yield* Layer.build(layerInstance("left")))
      yield* sessions.end("gone")
      assert.isTrue(Option.isNone(yield* gone.withTaskLock(taskLocks.sweep)(Effect.void)))
      assert.isTrue(Option.isSome(yield* left.withTaskLock(taskLocks.sweep)(Effect.void)))
    }).pipe(Effect.provide(MemoryDatabase.layer))
  )
})
