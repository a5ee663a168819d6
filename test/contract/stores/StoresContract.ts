/** Everything that the interfaces of the stores promise, for one implementation. */
import { createContract } from "./CreateContract.ts"
import type { StoreHarness } from "./StoreHarness.ts"
import { wakeContract } from "./WakeContract.ts"

export const storesContract = (harness: StoreHarness): void => {
  createContract(harness)
  wakeContract(harness)
}
