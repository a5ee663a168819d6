/** `valet project-server`: the reference project server, configured by its environment. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"

export const projectServerCommand = Command.make(
  "project-server",
  {},
  Effect.fnUntraced(function* () {
    const { runFromEnvironment } = yield* Effect.promise(() => import("../apps/ProjectServer.ts"))
    return yield* runFromEnvironment
  })
).pipe(Command.withDescription("Run one project's server: SQLite on its volume, documents over WebSocket and HTTP"))
