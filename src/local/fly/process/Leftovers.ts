/** Ends what a local Fly that died without a goodbye left running, and nothing else. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { isAlive } from "../../../process/ProcessMark.ts"
import { ProcessRecord } from "./MachineProcess.ts"
import { groupMembers, hasInEnvironment, signalGroup } from "../../../process/ProcessInfo.ts"

const isOurs = Effect.fnUntraced(function* (record: typeof ProcessRecord.Type) {
  if (yield* isAlive(record.mark)) return true
  // The leader is gone, or the number is another's. Its group lives on under its number while it has members, so those are to be asked.
  const members = yield* groupMembers(record.mark.pid)
  for (const { pid } of members) if (yield* hasInEnvironment(pid, `FLY_MACHINE_ID=${record.machine}`)) return true
  return false
})

/** Returns how many groups were ended. `root` holds a folder for each machine. */
export const endLeftovers = Effect.fn("endLeftovers")(function* (root: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folders = yield* Effect.orElseSucceed(fs.readDirectory(root), () => [])
  let ended = 0
  for (const folder of folders) {
    const file = path.join(root, folder, "process.json")
    const record = yield* fs
      .readFileString(file)
      .pipe(Effect.flatMap(Schema.decodeUnknownEffect(ProcessRecord)), Effect.option)
    if (record._tag === "Some" && (yield* isOurs(record.value))) {
      yield* signalGroup(record.value.mark.pid, "SIGKILL")
      yield* signalGroup(record.value.mark.pid, 0).pipe(
        Effect.repeat({ while: (alive) => alive, schedule: Schedule.spaced("10 millis"), times: 500 })
      )
      ended++
    }
    yield* fs.remove(file, { force: true })
  }
  return ended
})
