/**
 * A process that is written down before its program runs, in a group of its own.
 *
 * The child first waits for a line on its standard input, which it gets once its mark is noted. If this process dies
 * in between, the child sees the end of its input and ends: nobody is ever left unrecorded.
 */
import * as Effect from "effect/Effect"
import type * as PlatformError from "effect/PlatformError"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { constants } from "node:os"
import type { ProcessMark } from "./ProcessMark.ts"
import { markOf } from "./ProcessMark.ts"

export interface GatedCommand {
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly cwd: string
  /** Complete: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>
}

export interface ProcessEnd {
  /** 128 + signal where a signal ended it. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
}

const gate = 'read -r go || exit 125; exec "$0" "$@" </dev/null'

const signals: ReadonlyArray<[string, number]> = Object.entries(constants.signals)
const isSignal = (name: string | undefined): name is NodeJS.Signals => signals.some(([it]) => it === name)

export const endOf = (error: PlatformError.PlatformError): ProcessEnd => {
  const name = /signal: '(SIG[A-Z0-9]+)'/.exec(String(error.reason.cause))?.[1]
  const signal = isSignal(name) ? name : "SIGKILL"
  return { code: 128 + constants.signals[signal], signal }
}

/**
 * Runs once `note` has written its mark down; a mark is null where the process ended already, and then there is nothing
 * to be found again. Its whole group is killed when the scope closes; after a leader that failed too, but with
 * `killSignal`, by default SIGKILL.
 */
export const spawn = Effect.fnUntraced(function* <E, R>(
  command: GatedCommand,
  note: (mark: ProcessMark) => Effect.Effect<void, E, R>,
  killSignal: NodeJS.Signals = "SIGKILL"
) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const handle = yield* spawner.spawn(
    ChildProcess.make("/bin/sh", ["-c", gate, command.program, ...command.args], {
      cwd: command.cwd,
      env: command.env,
      extendEnv: false,
      detached: true,
      killSignal,
      forceKillAfter: "1 millis"
    })
  )
  const pid = Number(handle.pid)
  const mark = yield* markOf(pid)
  if (mark !== null) yield* note(mark)
  return {
    /** Also the number of its process group. */
    pid,
    stdout: handle.stdout,
    stderr: handle.stderr,
    /** Of the leader. */
    exited: handle.exitCode.pipe(
      Effect.map((code): ProcessEnd => ({ code: Number(code), signal: null })),
      Effect.catch((error) => Effect.succeed(endOf(error)))
    ),
    /** To be called once whoever reads its output is there. */
    open: Stream.make("go\n").pipe(Stream.encodeText, Stream.run(handle.stdin), Effect.ignore)
  }
})
