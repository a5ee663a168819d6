/** All of them, in the order in which they run. */
import type { Bench } from "./harness/Bench.ts"
import { proxy } from "./Proxy.ts"
import { route } from "./Route.ts"
import { sweep } from "./Sweep.ts"

export const benches: ReadonlyArray<Bench> = [proxy, route, sweep]
