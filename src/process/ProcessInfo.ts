/** Processes and their groups, as far as the system tells, and signals to them. */
import { readdirSync, readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"

export interface ProcessRow {
  readonly pid: number
  readonly group: number
  /** Clock ticks. */
  readonly user: number
  readonly system: number
  /** Bytes in memory; pages that it shares with others are counted for each. */
  readonly rss: number
}

export interface ProcessStat {
  readonly pid: number
  readonly command: string
  readonly directory: string
  /** Clock ticks. */
  readonly cpu: number
  readonly rtime: number
  readonly stime: number
  /** Bytes. */
  readonly rss: number
}

let page: number | undefined
/** 4 KiB on most, 16 or 64 on some ARM systems. */
const pageBytes = (): number => {
  if (page !== undefined) return page
  try {
    page = Number(/^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps", "utf8"))?.[1] ?? 4) * 1024
  } catch {
    page = 4096
  }
  return page
}

const rowOf = (pid: number): ProcessRow | undefined => {
  try {
    // After the command, whose name may hold blanks and brackets. Index 0 is field 3.
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    const at = (index: number) => Number(fields[index] ?? 0)
    // A zombie has closed its files, but not before its last thread ended.
    if (fields[0] === "X" || (fields[0] === "Z" && at(17) <= 1)) return undefined
    return { pid, group: at(2), user: at(11), system: at(12), rss: at(21) * pageBytes() }
  } catch {
    // It ended between the listing and the look.
    return undefined
  }
}

/** All processes but those that are only a zombie; null where the system has no `/proc`. Reading `stat` waits for nobody. */
export const processes: Effect.Effect<ReadonlyArray<ProcessRow> | null> = Effect.sync(() => {
  if (process.platform !== "linux") return null
  try {
    return readdirSync("/proc").flatMap((name) => {
      const row = /^[0-9]+$/.test(name) ? rowOf(Number(name)) : undefined
      return row === undefined ? [] : [row]
    })
  } catch {
    return null
  }
})

/** The processes of a group, as far as the system has `/proc`. */
export const groupMembers = Effect.fnUntraced(function* (group: number) {
  const fs = yield* FileSystem.FileSystem
  const members: Array<ProcessStat> = []
  for (const row of (yield* processes) ?? []) {
    if (row.group !== group) continue
    const command = yield* Effect.orElseSucceed(fs.readFileString(`/proc/${row.pid}/cmdline`), () => "")
    const directory = yield* Effect.orElseSucceed(fs.readLink(`/proc/${row.pid}/cwd`), () => "")
    members.push({
      pid: row.pid,
      command: command.split("\0").join(" ").trim(),
      directory,
      cpu: row.user + row.system,
      rtime: row.user,
      stime: row.system,
      rss: row.rss
    })
  }
  return members
})

/** Of a process that may still run: does its environment hold this? Of others' processes nothing can be said. */
export const hasInEnvironment = Effect.fnUntraced(function* (pid: number, entry: string) {
  const fs = yield* FileSystem.FileSystem
  const environ = yield* Effect.orElseSucceed(fs.readFileString(`/proc/${pid}/environ`), () => "")
  return environ.split("\0").includes(entry)
})

/** All that carry this in their environment, this process itself left out; none where the system has no `/proc`. */
export const havingInEnvironment = Effect.fnUntraced(function* (entry: string) {
  const rows = ((yield* processes) ?? []).filter(({ pid }) => pid !== process.pid)
  return yield* Effect.filter(rows, ({ pid }) => hasInEnvironment(pid, entry), { concurrency: 8 })
})

type Sent = "sent" | "nobody" | "refused"

const send = (pid: number, signal: NodeJS.Signals | 0): Sent => {
  // 0, -1: everybody. No process that is ours to signal has such a number.
  if (Math.abs(pid) <= 1) return "nobody"
  try {
    process.kill(pid, signal)
    return "sent"
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM" ? "refused" : "nobody"
  }
}

/** False where nobody is left to get it. */
export const signalGroup = (group: number, signal: NodeJS.Signals | 0): Effect.Effect<boolean> =>
  Effect.sync(() => send(-group, signal) === "sent")

export const signalProcess = (pid: number, signal: NodeJS.Signals): Effect.Effect<boolean> =>
  Effect.sync(() => send(pid, signal) === "sent")

/** Nobody is left in it but zombies, which only wait for a parent that does not look. */
export const isGroupGone = (group: number): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const sent = send(-group, 0)
    if (sent === "nobody") return true
    const rows = yield* processes
    // Without `/proc`, on macOS, a group that may not be signalled consists of zombies.
    return rows === null ? sent === "refused" : !rows.some((row) => row.group === group)
  })
