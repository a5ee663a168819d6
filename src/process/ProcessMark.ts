/**
 * Which process a number meant: pid and start time together, because pids are used again. For leftovers of a
 * predecessor that was killed, and for the lock on a data folder.
 */
import { readFileSync } from "node:fs"
import { spawnSync } from "node:child_process"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

export const ProcessMark = Schema.Struct({ pid: Schema.Int, startedAt: Schema.String })
export type ProcessMark = typeof ProcessMark.Type

let boot: string | undefined
/** Start times count from the boot, and pids begin anew with it: the same pair may come again after one. */
const bootId = (): string => {
  try {
    return (boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8))
  } catch {
    return ""
  }
}

/** Field 22 of /proc/<pid>/stat on Linux, and the boot; elsewhere what `ps` says. Null: no such process, or a zombie. */
const startOf = (pid: number): string | null => {
  if (process.platform !== "linux") {
    const { stdout } = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" })
    return stdout.trim() === "" ? null : stdout.trim()
  }
  try {
    // The command's name may hold spaces and parentheses; the fields behind its last one don't.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    const ticks = fields[19]
    // A zombie with threads still closes its files.
    const ended = fields[0] === "X" || (fields[0] === "Z" && Number(fields[17]) <= 1)
    return ended || ticks === undefined ? null : `${ticks}@${bootId()}`
  } catch {
    return null
  }
}

export const markOf = (pid: number): Effect.Effect<ProcessMark | null> =>
  Effect.sync(() => {
    const startedAt = startOf(pid)
    return startedAt === null ? null : { pid, startedAt }
  })

export const isAlive = (mark: ProcessMark): Effect.Effect<boolean> =>
  Effect.sync(() => startOf(mark.pid) === mark.startedAt)

const signal = (mark: ProcessMark, name: NodeJS.Signals) =>
  Effect.sync(() => {
    if (startOf(mark.pid) !== mark.startedAt) return
    try {
      process.kill(mark.pid, name)
    } catch {
      // It ended between the look and the signal.
    }
  })

/** As soon as it has ended; false if it is alive after `withinMs`. */
export const hasEnded = (mark: ProcessMark, withinMs: number): Effect.Effect<boolean> =>
  isAlive(mark).pipe(
    Effect.repeat({
      while: (alive) => alive,
      schedule: Schedule.max([Schedule.spaced(25), Schedule.recurs(Math.ceil(withinMs / 25))])
    }),
    Effect.map((alive) => !alive)
  )

/** SIGTERM, then SIGKILL after the grace; true once it is verified gone. */
export const terminate = (mark: ProcessMark, graceMs: number): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    yield* signal(mark, "SIGTERM")
    if (yield* hasEnded(mark, graceMs)) return true
    yield* signal(mark, "SIGKILL")
    return yield* hasEnded(mark, 5_000)
  })
