/**
 * Load from a process of its own: HTTP exchanges, messages over upgraded connections, connections. Throughput is measured
 * closed-loop, latency open-loop. The generator is C, and made at the start of a run: one in Node is slower than nginx.
 */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { BenchFailed, failed } from "./Bench.ts"
import { percentileMs } from "./Histogram.ts"
import { onPath } from "./Machine.ts"
import { type Pinned, run, spawn } from "./Pinned.ts"

/** `connect`: each exchange on a connection of its own. */
export type Mode = "http" | "connect" | "message"

export interface Load {
  readonly mode: Mode
  /** On 127.0.0.1. */
  readonly port: number
  readonly connections: number
  readonly warmupMs: number
  readonly measureMs: number
  /** Whole requests without a body, sent in turn; of `message` one, for the upgrade. */
  readonly requests: ReadonlyArray<string>
  /** On the wire, its frame's head included. */
  readonly messageBytes?: number
  /** Open loop: so many a second, each due at its time; closed loop where absent. */
  readonly perSecond?: number
  /**
   * Closed loop: looks for answers all the time. One that sleeps has to be woken by the server's write, on a virtual machine
   * the dearest part of it, and the oftener the slower the server is. Only where nothing else needs the core.
   */
  readonly spin?: boolean
}

export interface Loaded {
  readonly perSecond: number
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  /** Within the measured time. */
  readonly done: number
  /** With those of the warm-up. */
  readonly total: number
  /** Broken connections, and what was not answered until two seconds after the end. */
  readonly failed: number
  /** Answers by class: the second is 2xx. */
  readonly byClass: ReadonlyArray<number>
  readonly receivedBytes: number
  /** Of its core, 0 to 1. */
  readonly generatorCpu: number
  readonly seconds: number
}

export interface Generator {
  run(load: Load): Effect.Effect<Loaded, BenchFailed>
  /** Opens connections, upgraded if the answer says so, and keeps them until the scope closes. */
  hold(port: number, connections: number, request: string): Effect.Effect<void, BenchFailed, Scope.Scope>
  /** The server behind proxies; listens on `PORT`. */
  readonly answer: string
  serve(port: number, core: "server" | "load"): Effect.Effect<Pinned, BenchFailed, Scope.Scope>
}

const Counted = Schema.fromJsonString(
  Schema.Struct({
    done: Schema.Int,
    total: Schema.Int,
    failed: Schema.Int,
    lost: Schema.Int,
    unanswered: Schema.Int,
    wall_ns: Schema.Int,
    cpu_ns: Schema.Int,
    received_bytes: Schema.Int,
    by_class: Schema.Array(Schema.Int),
    histogram: Schema.Array(Schema.Tuple([Schema.Int, Schema.Int]))
  })
)
const decode = Schema.decodeEffect(Counted)

const source = (name: string) => fileURLToPath(new URL(`../load/${name}.c`, import.meta.url))

/** Each with its length before it. */
const framed = (requests: ReadonlyArray<string>): Uint8Array => {
  const encoded = requests.map((request) => Buffer.from(request, "latin1"))
  const length = (bytes: Buffer) => {
    const head = Buffer.alloc(4)
    head.writeUInt32LE(bytes.length)
    return head
  }
  return Buffer.concat(encoded.flatMap((bytes) => [length(bytes), bytes]))
}

/** With its programs in a folder that goes with the scope. */
export const make: Effect.Effect<Generator, BenchFailed, Scope.Scope | FileSystem.FileSystem | ChildProcessSpawner> =
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs
      .makeTempDirectoryScoped({ prefix: "valet-bench-" })
      .pipe(Effect.mapError(failed("no temporary folder")))
    const cc = (yield* onPath("cc")) ?? (yield* onPath("gcc"))
    if (cc === undefined) return yield* new BenchFailed({ detail: "the load generator needs a C compiler (gcc)" })
    const compile = (name: string) =>
      Effect.as(
        run({ name: `cc ${name}.c`, core: "load", command: [cc, "-O2", "-o", join(folder, name), source(name)] }),
        join(folder, name)
      )
    const [generate, answer] = yield* Effect.all([compile("generate"), compile("answer")])
    return {
      answer,
      serve: (port, core) =>
        spawn({ name: "answer", core, command: [answer], env: { PORT: String(port) } }).pipe(
          Effect.provideService(ChildProcessSpawner, spawner)
        ),
      run: ({
        connections,
        measureMs,
        messageBytes = 0,
        mode,
        perSecond = 0,
        port,
        requests,
        spin = false,
        warmupMs
      }) =>
        run(
          {
            name: "load generator",
            core: "load",
            command: [
              generate,
              mode,
              ...[port, connections, warmupMs, measureMs, perSecond, messageBytes, spin ? 1 : 0].map(String)
            ]
          },
          framed(requests)
        ).pipe(
          Effect.provideService(ChildProcessSpawner, spawner),
          Effect.flatMap(({ out }) => Effect.mapError(decode(out), failed("load generator"))),
          Effect.map((it) => ({
            perSecond: it.done / (it.wall_ns / 1e9),
            p50Ms: percentileMs(it.histogram, 0.5),
            p99Ms: percentileMs(it.histogram, 0.99),
            done: it.done,
            total: it.total,
            failed: it.failed + it.unanswered,
            byClass: it.by_class,
            receivedBytes: it.received_bytes,
            generatorCpu: it.cpu_ns / it.wall_ns,
            seconds: it.wall_ns / 1e9
          }))
        ),
      hold: (port, connections, request) =>
        Effect.gen(function* () {
          const file = join(folder, `hold-${port}`)
          yield* fs.writeFile(file, framed([request])).pipe(Effect.mapError(failed("no temporary file")))
          const shell = ["/bin/sh", "-c", 'exec "$0" hold "$1" "$2" 0 0 0 0 0 <"$3"', generate]
          const held = yield* spawn({
            name: "load generator",
            core: "load",
            command: [...shell, String(port), String(connections), file]
          })
          yield* held.line
        }).pipe(Effect.provideService(ChildProcessSpawner, spawner))
    }
  })
