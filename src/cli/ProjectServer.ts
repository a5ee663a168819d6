/** `valet project-server`: the reference project server, configured by its environment. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"

export const projectServerCommand = Command.make(
  "project-server",
  {},
  Effect.fnUntraced(function* () {
    const { runFromEnvironment } = yield* Effect.promise(() => import("../apps/ProjectServer.ts"))
    const { layerJsonLogs } = yield* Effect.promise(() => import("../apps/Logs.ts"))
    return yield* Effect.provide(runFromEnvironment, layerJsonLogs)
  })
).pipe(Command.withDescription("Run one project's server: SQLite on its volume, documents over WebSocket and HTTP"))
