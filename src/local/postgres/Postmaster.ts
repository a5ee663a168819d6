/**
 * The server process of a data folder as `postmaster.pid` names it: pid, folder, start, port, …, state on line 8
 * (https://www.postgresql.org/docs/current/storage-file-layout.html).
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import { kill } from "node:process"

export interface Postmaster {
  readonly pid: number
  readonly port: number
  readonly ready: boolean
}

export const postmasterOf = (data: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const lines = (yield* fs.readFileString(path.join(data, "postmaster.pid"))).split("\n")
    const pid = Number(lines[0])
    return pid > 0 ? { pid, port: Number(lines[3]), ready: lines[7]?.trim() === "ready" } : null
  }).pipe(Effect.orElseSucceed((): Postmaster | null => null))

const isRunning = (pid: number): boolean => {
  try {
    return kill(pid, 0)
  } catch {
    return false
  }
}

/** Of this data folder, and not of a process that was given the same number later. */
export const isPostmasterOf = (data: string, pid: number) =>
  Effect.gen(function* () {
    if (!isRunning(pid)) return false
    const fs = yield* FileSystem.FileSystem
    const command = yield* fs.readFileString(`/proc/${pid}/cmdline`).pipe(Effect.orElseSucceed(() => undefined))
    // Without /proc the pid file has to do: a clean stop and a crash recovery both replace it.
    return command === undefined || command.split("\0").includes(data)
  })

/** Fast shutdown: clients are cut off, everything is written. Then without writing, then by force. */
const shutdown: ReadonlyArray<readonly [NodeJS.Signals, Duration.Duration]> = [
  ["SIGINT", Duration.seconds(10)],
  ["SIGQUIT", Duration.seconds(5)],
  ["SIGKILL", Duration.seconds(5)]
]

const every = 25

/** True when it has ended. */
export const stopPostmaster = (data: string, pid: number) =>
  Effect.gen(function* () {
    for (const [signal, within] of shutdown) {
      if (!(yield* isPostmasterOf(data, pid))) return true
      yield* Effect.try(() => kill(pid, signal)).pipe(Effect.ignore)
      const runs = yield* isPostmasterOf(data, pid).pipe(
        Effect.repeat({
          while: (running) => running,
          schedule: Schedule.max([Schedule.spaced(every), Schedule.recurs(Duration.toMillis(within) / every)])
        })
      )
      if (!runs) return true
    }
    return false
  })
