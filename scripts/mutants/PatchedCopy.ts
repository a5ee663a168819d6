/** The sources with a mutant's defect, in a temporary folder that goes with the scope. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { type Mutant, patched } from "./Mutant.ts"

/** The URL of the copy's `scripts/simulate.ts`, for a thread to be started from. */
export const patchedCopy = Effect.fn("patchedCopy")(function* (mutant: Mutant) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* path.fromFileUrl(new URL("../..", import.meta.url))
  const copy = yield* fs.makeTempDirectoryScoped({ prefix: "valet-mutant-" })
  for (const part of ["src", "scripts", "package.json"]) yield* fs.copy(path.join(root, part), path.join(copy, part))
  yield* fs.symlink(path.join(root, "node_modules"), path.join(copy, "node_modules"))
  for (const patch of mutant.patches) {
    const file = path.join(copy, patch.file)
    const source = yield* Effect.fromResult(patched(yield* fs.readFileString(file), patch))
    yield* fs.writeFileString(file, source)
  }
  return yield* path.toFileUrl(path.join(copy, "scripts", "simulate.ts"))
})
