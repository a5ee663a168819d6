/** One machine's process: a group of its own, its output in a bounded file, its mark on disk before its program runs. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { constants } from "node:os"
import * as GatedProcess from "../../../process/GatedProcess.ts"
import * as LogFile from "../../../process/LogFile.ts"
import { ProcessMark } from "../../../process/ProcessMark.ts"
import type { ProcessExit } from "../model/Transitions.ts"

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

export const exitOf = ({ code, signal }: GatedProcess.ProcessEnd): ProcessExit => ({
  code,
  signal: signal === null ? 0 : constants.signals[signal],
  oom: false
})

/** Killed with its whole group when the scope closes. */
export const spawn = Effect.fnUntraced(function* (options: SpawnOptions) {
  const fs = yield* FileSystem.FileSystem
  const { command } = options
  yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(options.recordPath, { force: true })))
  const gated = yield* GatedProcess.spawn(
    { program: command.cmd, args: command.args, cwd: options.cwd, env: command.env },
    (mark) =>
      Effect.orDie(Schema.encodeEffect(ProcessRecord)({ mark, machine: options.machineId })).pipe(
        Effect.flatMap((record) => fs.writeFileString(options.recordPath, record))
      )
  )
  const write = yield* LogFile.append(options.logPath, options.logLimitBytes)
  yield* Stream.merge(gated.stdout, gated.stderr).pipe(
    Stream.runForEach(write),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logWarning(`Output of ${options.machineId} is lost`, cause)
    ),
    Effect.forkScoped
  )
  const exited = yield* Deferred.make<ProcessExit>()
  yield* gated.exited.pipe(
    Effect.flatMap((end) => Deferred.succeed(exited, exitOf(end))),
    Effect.forkScoped
  )
  yield* gated.open
  const process: MachineProcess = { pid: gated.pid, port: options.port, exited }
  return process
})
