/** All of them, in the order in which they run. */
import type { Bench } from "./harness/Bench.ts"
import { archive } from "./Archive.ts"
import { boot } from "./Boot.ts"
import { pool } from "./Pool.ts"
import { coldStart } from "./ColdStart.ts"
import { proxy } from "./Proxy.ts"
import { route } from "./Route.ts"
import { sweep } from "./Sweep.ts"
import { wake } from "./Wake.ts"

export const benches: ReadonlyArray<Bench> = [proxy, coldStart, route, wake, pool, sweep, boot, archive]
