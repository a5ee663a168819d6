/** Everything that the interfaces of the stores promise, for one implementation. */
import { archiveContract } from "./ArchiveContract.ts"
import { changesContract } from "./ChangesContract.ts"
import { createContract } from "./CreateContract.ts"
import { deleteContract } from "./DeleteContract.ts"
import { projectQueriesContract } from "./ProjectQueriesContract.ts"
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

export const storesContract = (harness: StoreHarness): void => {
  projectsContract(harness)
}
