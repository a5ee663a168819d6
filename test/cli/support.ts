/** Runs the bundled command as users do: a process of its own, with nothing in its environment but what is given. */
import { spawn, type ChildProcess } from "node:child_process"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { ensureBundle } from "../../src/local/Bundle.ts"

/** Where the system's programs are. */
const searchPath = process.env["PATH"] ?? ""

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly process: ChildProcess
  readonly ended: Effect.Effect<Ended>
  readonly output: () => Ended
}

export type Environment = Readonly<Record<string, string>>

/** What it started itself may need a while to end. */
const graceMs = 20_000

/** Told to end with the scope, and killed where it does not. */
export const start = (
  args: ReadonlyArray<string>,
  environment: Environment = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { valet } = yield* Effect.orDie(Effect.provide(ensureBundle, NodeServices.layer))
    const ended = yield* Deferred.make<Ended>()
    let stdout = ""
    let stderr = ""
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [valet, ...args], {
          env: { PATH: searchPath, ...environment },
          stdio: ["ignore", "pipe", "pipe"]
        })
      ),
      (child) =>
        Effect.gen(function* () {
          child.kill("SIGTERM")
          yield* Effect.timeoutOption(Deferred.await(ended), graceMs)
          child.kill("SIGKILL")
        })
    )
    child.stdout.on("data", (data) => (stdout += String(data)))
    child.stderr.on("data", (data) => (stderr += String(data)))
    const output = (): Ended => ({ code: child.exitCode, stdout, stderr })
    child.on("close", () => Deferred.doneUnsafe(ended, Effect.sync(output)))
    return { process: child, ended: Deferred.await(ended), output }
  })

/** To its end. */
export const valet = (args: ReadonlyArray<string>, environment: Environment = {}): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(args, environment), ({ ended }) => ended))
