/**
 * Named moments between two durable steps. They do nothing, except in tests, which look at the volume there: what a
 * crash would leave must be a state from which the server goes on.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export type Moment =
  | "generation-recorded"
  | "database-closed"
  | "seal-recorded"
  | "uploaded"
  | "download-begun"
  | "download-complete"
  | "database-renamed"
  | "ready-recorded"

export const CrashPoint = Context.Reference<(moment: Moment) => Effect.Effect<void>>("valet/CrashPoint", {
  defaultValue: () => () => Effect.void
})

export const reached = (moment: Moment): Effect.Effect<void> =>
  Effect.flatMap(Effect.service(CrashPoint), (act) => act(moment))
