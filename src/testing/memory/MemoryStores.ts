/** All stores over one in-memory database. Build it once for each instance, over one shared `MemoryDatabase.layer`. */
import * as Layer from "effect/Layer"
import { layerArchives } from "./MemoryArchives.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"
import { layerLocks } from "./MemoryLocks.ts"
import { layerMachines } from "./MemoryMachines.ts"
import { layerPlane } from "./MemoryPlane.ts"
import { layerProjects } from "./MemoryProjects.ts"

/** Fresh on every build, so that instances have stores and a lock session of their own. */
export const layerInstance = (instance: string) =>
  Layer.fresh(
    Layer.mergeAll(
      layerLocks(instance).pipe(Layer.provideMerge(layerProjects)),
      layerMachines,
      layerArchives,
      layerPlane
    )
  )

/** One instance over its own database. */
export const layerMemoryStores = layerInstance("memory").pipe(Layer.provideMerge(MemoryDatabase.layer))
