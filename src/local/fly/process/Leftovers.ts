/** Ends what a local Fly that died without a goodbye left running, and nothing else. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { endGroup, isGroupOf } from "../../../process/Leftovers.ts"
import { ProcessRecord } from "./MachineProcess.ts"

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
    if (record._tag === "Some" && (yield* isGroupOf(record.value.mark, `FLY_MACHINE_ID=${record.value.machine}`))) {
      yield* endGroup(record.value.mark.pid, 0)
      ended++
    }
    yield* fs.remove(file, { force: true })
  }
  return ended
})
