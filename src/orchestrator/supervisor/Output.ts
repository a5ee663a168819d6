import * as Effect from "effect/Effect"
import type { ServerProcess } from "../ServerHost.ts"

const timeoutMs = 1_000

/** A process' last lines; none where they can't be had in time. */
export const outputOf = (process: ServerProcess): Effect.Effect<ReadonlyArray<string>> =>
  Effect.timeoutOrElse(process.output, { duration: timeoutMs, orElse: () => Effect.succeed([]) })
