/** All of them, in the order in which they run. */
import type { Bench } from "./harness/Bench.ts"

export const benches: ReadonlyArray<Bench> = []
