/**
 * PostgreSQL refuses to run as root. On Linux root gives it a user namespace of its own, in which the same files belong
 * to an ordinary user: that works beneath folders that are closed to every other user, and needs no account. Where
 * namespaces are forbidden (a container's default), it runs as `nobody`, to whom the folder is given; then the way
 * to the folder, and to this package, must be open to others.
 */
import { getuid, platform } from "node:process"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"

const root = 0
/** The kernel's own number for nobody (`/proc/sys/kernel/overflowuid`), on every distribution. */
const nobody = 65_534

const namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] as const
const dropped = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"] as const

export interface Unprivileged {
  /** How a command is started so that it does not run as root. */
  command(program: string, args: ReadonlyArray<string>): readonly [string, ReadonlyArray<string>]
  /** Whose the folder has to be; null: it is already. */
  readonly owner: number | null
}

const through = (prefix: readonly [string, ...ReadonlyArray<string>], owner: number): Unprivileged => ({
  command: (program, args) => [prefix[0], [...prefix.slice(1), program, ...args]],
  owner
})

/** `server` is what is to run: a way that can't reach it is no way. */
export const unprivileged = (server: string): Effect.Effect<Unprivileged, EmbeddedPostgresError, ChildProcessSpawner> =>
  Effect.gen(function* () {
    if (getuid?.() !== root || platform === "win32") {
      return { command: (program: string, args: ReadonlyArray<string>) => [program, args] as const, owner: null }
    }
    const spawner = yield* ChildProcessSpawner
    const works = (prefix: readonly [string, ...ReadonlyArray<string>]) =>
      spawner
        .exitCode(
          ChildProcess.make(prefix[0], [...prefix.slice(1), server, "--version"], {
            stdout: "ignore",
            stderr: "ignore"
          })
        )
        .pipe(
          Effect.map((code) => code === 0),
          Effect.orElseSucceed(() => false)
        )
    if (yield* works(namespace)) return through(namespace, root)
    if (yield* works(dropped)) return through(dropped, nobody)
    return yield* new EmbeddedPostgresError({
      reason: "StartFailed",
      detail:
        "PostgreSQL does not run as root. A user namespace (unshare --user) can't be had here, and the user nobody " +
        `can't run ${server}: open the way to it to others, run as another user, or set DATABASE_URL to a PostgreSQL ` +
        "of your own"
    })
  })
