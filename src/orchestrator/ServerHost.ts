/** Processes as the orchestrator needs them: start one, ask it how it is, end it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { LaunchError } from "./process/LaunchError.ts"
import { probe } from "./process/Probe.ts"
import * as ServerProcesses from "./process/ServerProcesses.ts"

export interface Launch {
  /** The project it is for; a warm server's own name while it has none. Names its log. */
  readonly name: string
  readonly command: ReadonlyArray<string>
  readonly cwd: string
  /** Complete but for PORT, which the host chooses, and the few harmless names that every child inherits. */
  readonly env: Readonly<Record<string, string>>
}

export interface ServerExit {
  /** 128 + signal where a signal ended it. */
  readonly code: number
  readonly signal: string | null
}

export interface ServerProcess {
  /** Also the number of its process group. */
  readonly pid: number
  /** On 127.0.0.1. */
  readonly port: number
  /** For any number of waiters, also after it has ended. */
  readonly exited: Effect.Effect<ServerExit>
  /** The last lines of what it wrote to stdout and stderr, oldest first. */
  readonly output: Effect.Effect<ReadonlyArray<string>>
  /** What this gives completes once the process has written anything more; not at all where it writes no more. */
  readonly written: Effect.Effect<Effect.Effect<void>>
  /** Bytes that its whole group holds; null where the system does not tell. */
  readonly memory: Effect.Effect<number | null>
  /**
   * SIGTERM to the group, SIGKILL to what is left of it after the grace; returns once the system says that nobody of the
   * group is left. Safe to call again and after it ended.
   */
  stop(graceMs: number): Effect.Effect<void>
  /** From here on its output is this project's. */
  rename(name: string): Effect.Effect<void>
}

export { LaunchError }

/** `closed`: nobody accepts on its port. `listening`: it accepts, but has no such path (404, 405, or not HTTP at all). */
export type Probe =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Listening" }
  | { readonly _tag: "Healthy" }
  /** It accepts, and answered with a failure or not in time. */
  | { readonly _tag: "Unhealthy"; readonly detail: string }

export class ServerHost extends Context.Service<
  ServerHost,
  {
    /** Started, not yet listening. Ended with its whole group, at once, when the scope closes. */
    launch(launch: Launch): Effect.Effect<ServerProcess, LaunchError, Scope.Scope>
    /** GET of the path; never fails, never longer than the timeout. */
    probe(port: number, path: string, timeoutMs: number): Effect.Effect<Probe>
  }
>()("valet/ServerHost") {
  /** Processes of this computer. */
  static readonly layer = Layer.effect(
    ServerHost,
    Effect.map(ServerProcesses.make, ({ launch }) => ServerHost.of({ launch, probe }))
  )
}
