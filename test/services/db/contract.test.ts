import * as Layer from "effect/Layer"
import { storesContract } from "../../contract/stores/StoresContract.ts"
import { layerStores, sharedByFile } from "../../support/TestDatabase.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"

storesContract({
  name: "PostgreSQL",
  layer: sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layerStores))),
  clock: "live"
})
