import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { layerMemoryStores } from "../../../src/testing/memory/MemoryStores.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"
import { storesContract } from "../../contract/stores/StoresContract.ts"

const time = Layer.succeed(StoreTime, { advance: (ms) => TestClock.adjust(ms), driftMs: 0 })

storesContract({
  name: "memory",
  layer: Layer.merge(layerMemoryStores, time),
  clock: "test"
})
