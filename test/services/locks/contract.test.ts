import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Locks } from "../../../src/services/locks/Locks.ts"
import { LockInstances, locksContract } from "../../contract/stores/LocksContract.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { layerInstance, layerStores, sharedByFile, TestDatabase } from "../../support/TestDatabase.ts"

const instances = Layer.effect(
  LockInstances,
  Effect.gen(function* () {
    const { query } = yield* TestDatabase
    const one = yield* Layer.build(layerInstance)
    const two = yield* Layer.build(layerInstance)
    const locksOne = yield* Effect.provide(Locks, one)
    return {
      one: locksOne,
      two: yield* Effect.provide(Locks, two),
      // Instance one holds something in the tests that kill it, and instance two nothing.
      killOne: Effect.orDie(
        Effect.asVoid(
          query(
            `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
             WHERE a.datname = current_database() AND a.application_name = 'valet-locks'
               AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')`
          )
        )
      )
    }
  })
)

locksContract({
  name: "PostgreSQL",
  clock: "live",
  layer: sharedByFile(Layer.merge(instances, layerStoreTime).pipe(Layer.provideMerge(layerStores)))
})
