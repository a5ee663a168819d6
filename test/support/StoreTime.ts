import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { StoreTime } from "../contract/stores/StoreHarness.ts"
import { TestDatabase } from "./TestDatabase.ts"

/** The database's time moves by itself too; tests of exact moments allow for it. */
const driftMs = 5_000

export const layerStoreTime = Layer.effect(
  StoreTime,
  Effect.map(TestDatabase, ({ advance }) =>
    StoreTime.of({ advance: (milliseconds) => Effect.orDie(advance(milliseconds)), driftMs })
  )
)
