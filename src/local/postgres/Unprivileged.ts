/**
 * PostgreSQL refuses to run as root. On Linux root gives it a user namespace of its own, in which the same files belong
 * to an ordinary user: that works beneath folders that are closed to every other user, and needs no account.
 */
import { getuid, platform } from "node:process"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"

const namespace = ["--user", "--map-user=1000", "--map-group=1000"]

export type Prefix = (command: string, args: ReadonlyArray<string>) => readonly [string, ReadonlyArray<string>]

/** How a command is started so that it does not run as root. */
export const unprivileged: Effect.Effect<Prefix, EmbeddedPostgresError, ChildProcessSpawner> = Effect.gen(function* () {
  if (getuid?.() !== 0 || platform === "win32") return (command, args) => [command, args]
  const spawner = yield* ChildProcessSpawner
  const possible = yield* spawner
    .exitCode(ChildProcess.make("unshare", [...namespace, "true"], { stdout: "ignore", stderr: "ignore" }))
    .pipe(
      Effect.map((code) => code === 0),
      Effect.orElseSucceed(() => false)
    )
  if (!possible) {
    return yield* new EmbeddedPostgresError({
      reason: "StartFailed",
      detail:
        "PostgreSQL does not run as root, and this system allows no user namespace (unshare --user): " +
        "run as another user, or set DATABASE_URL to a PostgreSQL of your own"
    })
  }
  return (command, args) => ["unshare", [...namespace, command, ...args]]
})
