/** How this program starts parts of itself as processes of their own: from the bundle, or from sources while developing. */
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

type Command = readonly [string, ...ReadonlyArray<string>]

const beside = (name: string) => fileURLToPath(new URL(name, import.meta.url))

export const ownCommands = (): { readonly serve: Command; readonly dev: Command; readonly projectServer: Command } => {
  const bundle = beside("./valet.mjs")
  const server = beside("./project-server.mjs")
  // Chunks of the bundle lie beside it; sources are one folder deeper.
  if (existsSync(bundle) && existsSync(server)) {
    return {
      serve: [process.execPath, bundle, "serve"],
      dev: [process.execPath, bundle, "dev"],
      projectServer: [process.execPath, server]
    }
  }
  const main = beside("../main.ts")
  return {
    serve: [process.execPath, main, "serve"],
    dev: [process.execPath, main, "dev"],
    projectServer: [process.execPath, main, "project-server"]
  }
}
