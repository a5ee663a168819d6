import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { storesContract } from "../../contract/stores/StoresContract.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"
import { layerStores, TestDatabase } from "../../support/TestDatabase.ts"

/** The database's time moves by itself too; tests of exact moments allow for it. */
const driftMs = 5_000

export const layerStoreTime = Layer.effect(
  StoreTime,
  Effect.map(TestDatabase, ({ advance }) =>
    StoreTime.of({ advance: (milliseconds) => Effect.orDie(advance(milliseconds)), driftMs })
  )
)

storesContract({
  name: "PostgreSQL",
  layer: layerStoreTime.pipe(Layer.provideMerge(layerStores)),
  clock: "live"
})
