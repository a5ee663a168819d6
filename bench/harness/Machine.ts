/** Where a figure was measured, and how its processes share the cores. */
import { access, constants } from "node:fs/promises"
import * as os from "node:os"
import { delimiter, join } from "node:path"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory_gib: number
  readonly node: string
  readonly kernel: string
  /** Of the minute before: others who ran at the same time. */
  readonly load: number
  /** What is measured and what loads it run on cores of their own. */
  readonly pinned: boolean
}

/** The program's path; undefined where it is not installed. */
export const onPath = (program: string): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    const path = yield* Effect.orDie(Config.String("PATH").pipe(Config.withDefault("")))
    for (const folder of [...path.split(delimiter), "/usr/sbin", "/usr/local/sbin"]) {
      const file = join(folder, program)
      const there = yield* Effect.promise(() =>
        access(file, constants.X_OK).then(
          () => true,
          () => false
        )
      )
      if (there) return file
    }
    return undefined
  })

/** `server`: what is measured; `load`: what loads it, and what it stands in front of; `any`: all there are. */
export type Core = "server" | "load" | "any"

/** The command, kept to its core where there are two. */
export const pinned = (core: Core, command: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(onPath("taskset"), (taskset) =>
    core === "any" || taskset === undefined || os.availableParallelism() < 2
      ? command
      : [taskset, "-c", core === "server" ? "0" : "1", ...command]
  )

export const machine: Effect.Effect<Machine> = Effect.map(onPath("taskset"), (taskset) => ({
  cpu: os.cpus()[0]?.model.trim() ?? os.arch(),
  cores: os.availableParallelism(),
  memory_gib: Math.round(os.totalmem() / 2 ** 30),
  node: process.version,
  kernel: `${os.type()} ${os.release()}`,
  load: Number((os.loadavg()[0] ?? 0).toFixed(2)),
  pinned: taskset !== undefined && os.availableParallelism() > 1
}))
