/** All mutants, by name. */
import { archiving } from "./Archiving.ts"
import { machines } from "./Machines.ts"
import type { Mutant } from "./Mutant.ts"
import { ownership } from "./Ownership.ts"
import { routing } from "./Routing.ts"

export const mutants: ReadonlyArray<Mutant> = [...ownership, ...archiving, ...machines, ...routing]
