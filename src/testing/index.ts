/** Fakes of every outside system, and a whole plane over them. */
export { FakeMachines, layerFakeMachines } from "./machine/FakeMachines.ts"
export * as FlyMemory from "./fly/FlyMemory.ts"
export { FlyWorld } from "../local/fly/FlyWorld.ts"
export * as MemoryR2 from "./MemoryR2.ts"
export { MemoryDatabase } from "./memory/MemoryDatabase.ts"
export { layerInstance, layerMemoryStores } from "./memory/MemoryStores.ts"
export { StoreFaults } from "./memory/StoreFaults.ts"
export { layerSeededRandom, layerTestPlane, layerTestServices, testConfig } from "./TestPlane.ts"
