/** Everything that the interfaces of the stores promise, for one implementation. */
import { archiveContract } from "./ArchiveContract.ts"
import { archivesContract } from "./ArchivesContract.ts"
import { binContract } from "./BinContract.ts"
import { changesContract } from "./ChangesContract.ts"
import { createContract } from "./CreateContract.ts"
import { deleteContract } from "./DeleteContract.ts"
import { observeContract } from "./ObserveContract.ts"
import { planeContract } from "./PlaneContract.ts"
import { projectQueriesContract } from "./ProjectQueriesContract.ts"
import { provisioningContract } from "./ProvisioningContract.ts"
import { rehostContract } from "./RehostContract.ts"
import type { StoreHarness } from "./StoreHarness.ts"
import { wakeContract } from "./WakeContract.ts"

export const projectsContract = (harness: StoreHarness): void => {
  createContract(harness)
  wakeContract(harness)
  archiveContract(harness)
  rehostContract(harness)
  deleteContract(harness)
  projectQueriesContract(harness)
  changesContract(harness)
}

export const machinesContract = (harness: StoreHarness): void => {
  provisioningContract(harness)
  binContract(harness)
  observeContract(harness)
}

export const storesContract = (harness: StoreHarness): void => {
  projectsContract(harness)
  machinesContract(harness)
  archivesContract(harness)
  planeContract(harness)
}
