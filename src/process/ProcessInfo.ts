/** Process groups: who is in them, and signals to them. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"

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

const pageBytes = 4096

/** Fields of `/proc/<pid>/stat` after the command, whose name may hold blanks and brackets. Index 0 is field 3. */
const fieldsOf = (stat: string) => stat.slice(stat.lastIndexOf(")") + 2).split(" ")

const readStat = Effect.fnUntraced(function* (pid: number) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.option(fs.readFileString(`/proc/${pid}/stat`))
})

/** The processes of a group, as far as the system has `/proc`. */
export const groupMembers = Effect.fnUntraced(function* (group: number) {
  const fs = yield* FileSystem.FileSystem
  const entries = yield* Effect.orElseSucceed(fs.readDirectory("/proc"), () => [])
  const members: Array<ProcessStat> = []
  for (const entry of entries) {
    if (!/^[0-9]+$/.test(entry)) continue
    const stat = yield* readStat(Number(entry))
    if (stat._tag === "None") continue
    const fields = fieldsOf(stat.value)
    if (fields[2] !== String(group) || fields[0] === "Z") continue
    const command = yield* Effect.orElseSucceed(fs.readFileString(`/proc/${entry}/cmdline`), () => "")
    const directory = yield* Effect.orElseSucceed(fs.readLink(`/proc/${entry}/cwd`), () => "")
    const [user, system] = [Number(fields[11] ?? 0), Number(fields[12] ?? 0)]
    members.push({
      pid: Number(entry),
      command: command.split("\0").join(" ").trim(),
      directory,
      cpu: user + system,
      rtime: user,
      stime: system,
      rss: Number(fields[21] ?? 0) * pageBytes
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

/** False where nobody is left to get it. */
export const signalGroup = (group: number, signal: NodeJS.Signals | 0): Effect.Effect<boolean> =>
  Effect.sync(() => {
    try {
      process.kill(-group, signal)
      return true
    } catch {
      return false
    }
  })

export const signalProcess = (pid: number, signal: NodeJS.Signals): Effect.Effect<boolean> =>
  Effect.sync(() => {
    try {
      process.kill(pid, signal)
      return true
    } catch {
      return false
    }
  })
