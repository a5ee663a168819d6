/** The bare side of the comparison as a process. */
import { bareWakes } from "./BareWake.ts"
import { serve } from "./Serve.ts"

serve(bareWakes)
