/** Where things lie in the local Fly's data folder, and the data of volumes and snapshots in it. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"

export const make = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.resolve(dataDir)
  const at = (...parts: ReadonlyArray<string>) => path.join(root, ...parts)
  const volume = (id: string) => at("volumes", id)
  const snapshot = (id: string) => at("snapshots", id)
  const machine = (id: string) => at("machines", id)
  for (const folder of ["volumes", "snapshots", "machines"]) yield* fs.makeDirectory(at(folder), { recursive: true })

  /** Beside it first, so that a half copy is never taken for the whole. */
  const copy = Effect.fnUntraced(function* (from: string, to: string) {
    const partial = `${to}.partial`
    yield* fs.remove(partial, { recursive: true, force: true })
    if (yield* fs.exists(from)) yield* fs.copy(from, partial)
    else yield* fs.makeDirectory(partial)
    yield* fs.rename(partial, to)
  })

  return {
    state: at("fly.json"),
    machines: at("machines"),
    machine,
    volume,
    snapshot,
    log: (id: string) => path.join(machine(id), "machine.log"),
    record: (id: string) => path.join(machine(id), "process.json"),
    socket: (id: string) => path.join(machine(id), "api"),
    /** The disk of a machine without a volume. */
    rootfs: (id: string) => path.join(machine(id), "root"),
    make: (folder: string) => fs.makeDirectory(folder, { recursive: true }),
    copy,
    remove: (folder: string) => fs.remove(folder, { recursive: true, force: true })
  }
})

export type Folders = Effect.Success<ReturnType<typeof make>>
