/** The proxies that are compared, each on the server's core in front of the same server on the other one. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { ensureBundle } from "../../src/local/Bundle.ts"
import { freePort } from "../../src/process/Ports.ts"
import { type BenchFailed, failed } from "../harness/Bench.ts"
import type { Generator } from "../harness/Load.ts"
import { pinned } from "../harness/Machine.ts"
import * as Peers from "../harness/Peers.ts"
import { answers, type Pinned, spawn } from "../harness/Pinned.ts"
import * as Configs from "./Configs.ts"
import { hostName } from "./Requests.ts"

export const names = ["valet", "direct", "nginx", "HAProxy", "Caddy", "http-proxy-3", "bare Node"] as const
export type Name = (typeof names)[number]
export const inNode: ReadonlyArray<Name> = ["valet", "http-proxy-3", "bare Node"]

export interface Running {
  readonly name: Name
  readonly port: number
  readonly process: Pinned
}

type Needs = Scope.Scope | FileSystem.FileSystem | ChildProcessSpawner
/** Started anew each time; undefined: not installed. */
export interface Contestant {
  readonly name: Name
  readonly start: Effect.Effect<Running, BenchFailed, Needs>
}

const script = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const folder = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "valet-bench-" }), failed("no temporary folder"))
)

const ready = Effect.fnUntraced(function* (name: Name, port: number, process: Pinned) {
  yield* answers(port, hostName, () => `${name}:\n${process.said()}`)
  return { name, port, process } satisfies Running
})

const Ready = Schema.fromJsonString(Schema.Struct({ url: Schema.String }))

const valet = (answer: string): Effect.Effect<Running, BenchFailed, Needs> =>
  Effect.gen(function* () {
    const bundle = yield* Effect.mapError(ensureBundle, failed("bundle"))
    const dataDir = yield* folder
    const flags = ["--port", "0", "--data-dir", dataDir, "--idle-timeout", "0", "--json"]
    const process = yield* spawn({
      name: "valet orchestrator",
      core: "server",
      // Its server would inherit its core.
      command: [
        globalThis.process.execPath,
        bundle.valet,
        "orchestrator",
        ...flags,
        "--",
        ...(yield* pinned("load", [answer]))
      ]
    })
    const { url } = yield* Effect.mapError(
      Schema.decodeEffect(Ready)(yield* process.line),
      failed("valet orchestrator")
    )
    return yield* ready("valet", Number(new URL(url).port), process)
  })

/** A script of this folder, run by this Node. */
const node = (name: Name, file: string, target: number, env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const port = yield* Effect.mapError(freePort, failed("no free port"))
    const process = yield* spawn({
      name,
      core: "server",
      command: [globalThis.process.execPath, script(file)],
      env: { PORT: String(port), TARGET: String(target), ...env }
    })
    return yield* ready(name, port, process)
  })

/** A program with a file of configuration. */
const configured = (
  name: Name,
  config: (folder: string, ports: Configs.Ports) => string,
  command: (file: string) => ReadonlyArray<string>,
  target: number
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const port = yield* Effect.mapError(freePort, failed("no free port"))
    const own = yield* folder
    const file = join(own, "config")
    yield* Effect.mapError(fs.writeFileString(file, config(own, { port, target })), failed(name))
    const env = { GOMAXPROCS: "1", XDG_DATA_HOME: own, XDG_CONFIG_HOME: own }
    return yield* ready(name, port, yield* spawn({ name, core: "server", command: command(file), env }))
  })

/** Those that are installed, in front of a server that is started here. */
export const make = (generator: Generator): Effect.Effect<ReadonlyArray<Contestant>, BenchFailed, Needs> =>
  Effect.gen(function* () {
    const port = Effect.mapError(freePort, failed("no free port"))
    const target = yield* port
    yield* generator.serve(target, "load")
    const direct = Effect.gen(function* () {
      const own = yield* port
      return yield* ready("direct", own, yield* generator.serve(own, "server"))
    })
    const [nginx, haproxy, caddy, httpProxy3] = yield* Effect.all([
      Peers.program("nginx"),
      Peers.program("haproxy"),
      Peers.program("caddy"),
      Peers.npmPackage("http-proxy-3")
    ])
    const there = [nginx, haproxy, caddy, httpProxy3].filter((peer) => peer !== undefined)
    yield* Console.error(`beside ${there.map(({ name, version }) => `${name} ${version}`).join(", ")}`)
    const contestants: Array<Contestant> = [
      { name: "valet", start: valet(generator.answer) },
      { name: "direct", start: direct }
    ]
    if (nginx !== undefined) {
      const start = configured("nginx", Configs.nginx, (file) => [nginx.path, "-c", file], target)
      contestants.push({ name: "nginx", start })
    }
    if (haproxy !== undefined) {
      const config = (_: string, ports: Configs.Ports) => Configs.haproxy(ports)
      const start = configured("HAProxy", config, (file) => [haproxy.path, "-db", "-f", file], target)
      contestants.push({ name: "HAProxy", start })
    }
    if (caddy !== undefined) {
      const config = (_: string, ports: Configs.Ports) => Configs.caddy(ports)
      const command = (file: string) => [caddy.path, "run", "--adapter", "caddyfile", "--config", file]
      contestants.push({ name: "Caddy", start: configured("Caddy", config, command, target) })
    }
    if (httpProxy3 !== undefined) {
      const start = node("http-proxy-3", "HttpProxy3.ts", target, { PACKAGE: httpProxy3.path })
      contestants.push({ name: "http-proxy-3", start })
    }
    contestants.push({ name: "bare Node", start: node("bare Node", "BareNode.ts", target) })
    return contestants
  })
