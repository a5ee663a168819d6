/**
 * Process marks on disk, each the name of an empty file in one folder: it is whole as soon as it is there, so that
 * nothing that is cut off can leave half a mark.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { ProcessMark } from "./ProcessMark.ts"

const nameOf = ({ pid, startedAt }: ProcessMark) => `${pid}.${Buffer.from(startedAt).toString("base64url")}`

const parse = (name: string): ProcessMark | undefined => {
  const [, pid = "", start = ""] = /^([1-9][0-9]{0,9})\.([A-Za-z0-9_-]+)$/.exec(name) ?? []
  return pid === "" ? undefined : { pid: Number(pid), startedAt: Buffer.from(start, "base64url").toString() }
}

export const make = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(folder, { recursive: true, mode: 0o700 })
  const at = (name: string) => `${folder}/${name}`
  return {
    /** Fails where it is there already. */
    add: (mark: ProcessMark) => fs.writeFileString(at(nameOf(mark)), "", { flag: "wx", mode: 0o600 }),
    remove: (mark: ProcessMark) => fs.remove(at(nameOf(mark)), { force: true }),
    removeStranger: (name: string) => fs.remove(at(name), { force: true, recursive: true }),
    /** `strangers`: names that are no mark. */
    list: Effect.gen(function* () {
      const marks: Array<ProcessMark> = []
      const strangers: Array<string> = []
      for (const name of yield* fs.readDirectory(folder)) {
        const mark = parse(name)
        if (mark === undefined) strangers.push(name)
        else marks.push(mark)
      }
      return { marks, strangers }
    })
  }
})

export type MarkFolder = Effect.Success<ReturnType<typeof make>>
