import * as Layer from "effect/Layer"
import { layerFakeMachines } from "../../../src/testing/machine/FakeMachines.ts"
import * as MemoryR2 from "../../../src/testing/MemoryR2.ts"
import { machineContract } from "./contract.ts"
import { configured, layerFakeSubject, layerTestKeys } from "./fakes.ts"

machineContract(
  "machines in memory",
  layerFakeSubject.pipe(
    Layer.provideMerge(layerFakeMachines),
    Layer.provideMerge([MemoryR2.layer, layerTestKeys(configured({}))])
  )
)
