/** How a process of ours ends: its error in a line on stderr, its exit code, signals. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"

/** Expected failures in a line, defects with all that is known of them. */
const report = (name: string) => (cause: Cause.Cause<unknown>) => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
  if (!Runtime.getErrorReported(error)) return Effect.void
  const expected = Cause.hasFails(cause) && error instanceof Error && error.message !== ""
  return Console.error(`${name}: ${expected ? error.message : Cause.pretty(cause)}`)
}

export interface MainOptions {
  readonly name: string
  /** It runs until it is told to stop: then its end is a success. */
  readonly server: boolean
}

/** SIGINT and SIGTERM interrupt the effect, whose finalizers run to their end however often the signal comes again. */
export const runMain = <A, E>(effect: Effect.Effect<A, E>, { name, server }: MainOptions): void =>
  NodeRuntime.runMain(Effect.tapCause(effect, report(name)), {
    disableErrorReporting: true,
    teardown: (exit, onExit) =>
      server && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
        ? onExit(0)
        : Runtime.defaultTeardown(exit, onExit)
  })
