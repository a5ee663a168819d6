/** The plane's side of the comparison as a process. */
import * as Effect from "effect/Effect"
import { planeWakes } from "./PlaneWake.ts"
import { serve } from "./Serve.ts"

serve((task) => Effect.runPromise(Effect.map(planeWakes(task), ({ wakes }) => wakes)))
