/**
 * One machine's process: a group of its own, its output in a bounded file, its pid on disk before its program runs.
 *
 * The child first waits for a line on its standard input, which it gets once pid and start time are written down. If
 * the local Fly dies in between, the child sees the end of its input and ends: nobody is ever left unrecorded.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { constants } from "node:os"
import { ProcessMark, markOf } from "../../../process/ProcessMark.ts"
import type { ProcessExit } from "../model/Transitions.ts"
import * as LogFile from "../../../process/LogFile.ts"

export interface Command {
  readonly cmd: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
}

export interface MachineProcess {
  /** Also the number of its process group. */
  readonly pid: number
  readonly port: number
  readonly exited: Deferred.Deferred<ProcessExit>
}

export const ProcessRecord = Schema.fromJsonString(Schema.Struct({ mark: ProcessMark, machine: Schema.String }))

export interface SpawnOptions {
  readonly machineId: string
  readonly command: Command
  readonly cwd: string
  readonly port: number
  readonly recordPath: string
  readonly logPath: string
  readonly logLimitBytes: number
}

const gate = 'read -r go || exit 125; exec "$0" "$@" </dev/null'

export const exitOf = (error: PlatformError.PlatformError): ProcessExit => {
  const name = /signal: '(SIG[A-Z0-9]+)'/.exec(String(error.reason.cause))?.[1]
  const signal = Object.entries(constants.signals).find(([it]) => it === name)?.[1] ?? 9
  return { code: 128 + signal, signal, oom: false }
}

/** Killed with its whole group when the scope closes. */
export const spawn = Effect.fnUntraced(function* (options: SpawnOptions) {
  const fs = yield* FileSystem.FileSystem
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const { command } = options
  const handle = yield* spawner.spawn(
    ChildProcess.make("/bin/sh", ["-c", gate, command.cmd, ...command.args], {
      cwd: options.cwd,
      env: command.env,
      extendEnv: false,
      detached: true,
      killSignal: "SIGKILL"
    })
  )
  const pid = Number(handle.pid)
  // Null where it ended already; then there is nothing to be found again.
  const mark = yield* markOf(pid)
  if (mark !== null) {
    const record = yield* Effect.orDie(Schema.encodeEffect(ProcessRecord)({ mark, machine: options.machineId }))
    yield* fs.writeFileString(options.recordPath, record)
  }
  yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(options.recordPath, { force: true })))

  const write = yield* LogFile.append(options.logPath, options.logLimitBytes)
  yield* handle.all.pipe(
    Stream.runForEach(write),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logWarning(`Output of ${options.machineId} is lost`, cause)
    ),
    Effect.forkScoped
  )
  const exited = yield* Deferred.make<ProcessExit>()
  yield* handle.exitCode.pipe(
    Effect.map((code): ProcessExit => ({ code: Number(code), signal: 0, oom: false })),
    Effect.catch((error) => Effect.succeed(exitOf(error))),
    Effect.flatMap((exit) => Deferred.succeed(exited, exit)),
    Effect.forkScoped
  )
  yield* Stream.make("go\n").pipe(Stream.encodeText, Stream.run(handle.stdin), Effect.ignore)
  const process: MachineProcess = { pid, port: options.port, exited }
  return process
})
