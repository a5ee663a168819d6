/** The package's version, from its package.json: one folder above the bundle, two above this file. */
import { createRequire } from "node:module"
import * as Schema from "effect/Schema"

const Package = Schema.decodeUnknownSync(Schema.Struct({ name: Schema.Literal("valet"), version: Schema.String }))

const read = (path: string): string | undefined => {
  try {
    return Package(createRequire(import.meta.url)(path)).version
  } catch {
    return undefined
  }
}

export const version = read("../package.json") ?? read("../../package.json") ?? "0.0.0"
