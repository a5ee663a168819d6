/**
 * The model's state on disk: written beside the file, flushed, renamed over it, and the folder flushed, so that what
 * an answer told is still so after a crash. Faults and request budgets are not kept.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import type { FlyState } from "./model/FlyState.ts"

const version = 1

const isState = (value: unknown): value is FlyState =>
  typeof value === "object" &&
  value !== null &&
  ["seed", "apps", "machines", "volumes", "snapshots", "unreachableHosts", "faults", "buckets"].every(
    (it) => it in value
  )

const Stored = Schema.fromJsonString(
  Schema.Struct({ version: Schema.Literal(version), state: Schema.declare(isState) })
)

const kept = (state: FlyState): FlyState => ({ ...state, faults: [], buckets: {} })

const sameWhereKept = (a: FlyState, b: FlyState): boolean =>
  a.seed === b.seed &&
  a.apps === b.apps &&
  a.machines === b.machines &&
  a.volumes === b.volumes &&
  a.snapshots === b.snapshots &&
  a.unreachableHosts === b.unreachableHosts

export const make = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  const folder = (yield* Path.Path).dirname(path)
  let last: FlyState | undefined

  const flush = (target: string, flag: "r" | "r+") =>
    Effect.scoped(Effect.flatMap(fs.open(target, { flag }), (file) => file.sync))

  /** Undefined where there is none yet. A file that can't be read is an error: it names volumes that hold data. */
  const read = Effect.gen(function* () {
    if (!(yield* fs.exists(path))) return undefined
    const text = yield* fs.readFileString(path)
    return (yield* Schema.decodeEffect(Stored)(text)).state
  })

  const write = Effect.fnUntraced(function* (state: FlyState) {
    if (last !== undefined && sameWhereKept(last, state)) return
    const partial = `${path}.new`
    // Holds the machines' environments, and so their secrets.
    yield* fs.writeFileString(partial, JSON.stringify({ version, state: kept(state) }), { mode: 0o600 })
    yield* flush(partial, "r+")
    yield* fs.rename(partial, path)
    yield* flush(folder, "r")
    last = state
  })

  return { read, write }
})
