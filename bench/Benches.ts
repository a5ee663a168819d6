/** All of them, in the order in which they run. */
import type { Bench } from "./harness/Bench.ts"
import { proxy } from "./Proxy.ts"

export const benches: ReadonlyArray<Bench> = [proxy]
