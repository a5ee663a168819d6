/** Who is compared with, at the version that is installed. `bench/install-peers.sh` installs them. */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { type BenchFailed, failed } from "./Bench.ts"
import { onPath } from "./Machine.ts"
import { run } from "./Pinned.ts"

export interface Peer {
  readonly name: string
  readonly version: string
  /** Of a program its path, of a package its folder. */
  readonly path: string
}

/** How each tells its version. */
const programs = { nginx: ["-v"], haproxy: ["-v"], caddy: ["version"], pgbench: ["--version"], psql: ["--version"] }
export type ProgramName = keyof typeof programs

const folderOf = (name: string) => fileURLToPath(new URL(`../peers/node_modules/${name}/`, import.meta.url))
const Manifest = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

const leftOut = (name: string) => Console.error(`left out: ${name} is not installed (bench/install-peers.sh)`)

export const program = (name: ProgramName): Effect.Effect<Peer | undefined, BenchFailed, ChildProcessSpawner> =>
  Effect.gen(function* () {
    const path = yield* onPath(name)
    if (path === undefined) return yield* Effect.as(leftOut(name), undefined)
    const { err, out } = yield* run({ name, core: "load", command: [path, ...programs[name]] })
    return { name, path, version: /\d+(?:\.\d+)+/.exec(`${out}${err}`)?.[0] ?? "unknown" }
  })

/** A package of `bench/peers`. */
export const npmPackage = (name: string): Effect.Effect<Peer | undefined, BenchFailed> =>
  Effect.gen(function* () {
    const path = folderOf(name)
    const manifest = yield* Effect.promise(() => readFile(`${path}package.json`, "utf8").catch(() => undefined))
    if (manifest === undefined) return yield* Effect.as(leftOut(name), undefined)
    const { version } = yield* Effect.mapError(Schema.decodeEffect(Manifest)(manifest), failed(name))
    return { name, path, version }
  })
