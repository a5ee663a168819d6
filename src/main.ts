/** The `valet` command. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import * as Command from "effect/cli/Command"
import { valet } from "./cli/Commands.ts"
import { version } from "./cli/Version.ts"

/** These run until they are told to stop: then their end is a success. */
const servers = new Set(["serve", "dev", "orchestrator", "project-server"])
const isServer = servers.has(process.argv.slice(2).find((argument) => !argument.startsWith("-")) ?? "")

/** Expected failures in a line, defects with all that is known of them. */
const report = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
  if (!Runtime.getErrorReported(error)) return Effect.void
  const expected = Cause.hasFails(cause) && error instanceof Error && error.message !== ""
  return Console.error(`valet: ${expected ? error.message : Cause.pretty(cause)}`)
}

Command.run(valet, { version }).pipe(
  Effect.tapCause(report),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (exit, onExit) =>
      isServer && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
        ? onExit(0)
        : Runtime.defaultTeardown(exit, onExit)
  })
)
