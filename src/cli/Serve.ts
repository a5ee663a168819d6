/** `valet serve`: one instance of the control plane, configured by its environment. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { duration } from "./Flags.ts"

export const serveCommand = Command.make(
  "serve",
  {
    migrate: Flag.Boolean("migrate").pipe(
      Flag.withDescription("Bring the database up to date first"),
      Flag.withDefault(false)
    ),
    drain: duration("drain").pipe(
      Flag.withDescription("How long requests in flight may take after SIGTERM (5s)"),
      Flag.withDefault(5_000)
    )
  },
  Effect.fnUntraced(function* ({ migrate, drain }) {
    const { run } = yield* Effect.promise(() => import("../apps/ControlPlane.ts"))
    const { layerTelemetry } = yield* Effect.promise(() => import("../apps/Telemetry.ts"))
    return yield* Effect.provide(run({ migrate, drainMs: drain }), layerTelemetry)
  })
).pipe(Command.withDescription("Run the control plane: API, router and background loops"))
