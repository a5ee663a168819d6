/** Which file a command runs: found before anything is started, so that a misspelt name is told as such. */
import { constants } from "node:fs"
import { access, stat } from "node:fs/promises"
import { isAbsolute, resolve } from "node:path"
import * as Effect from "effect/Effect"

const isProgram = (path: string): Effect.Effect<boolean> =>
  Effect.tryPromise(async () => {
    await access(path, constants.X_OK)
    return (await stat(path)).isFile()
  }).pipe(Effect.orElseSucceed(() => false))

/** Absolute; undefined where there is none. As `execvp` looks: a name with a slash as it is, else through PATH. */
export const findProgram = Effect.fnUntraced(function* (name: string, cwd: string, searchPath: string) {
  const candidates =
    isAbsolute(name) || name.includes("/")
      ? [resolve(cwd, name)]
      : searchPath.split(":").map((folder) => resolve(cwd, folder, name))
  for (const path of candidates) if (yield* isProgram(path)) return path
  return undefined
})
