/** `boot`: how soon an instance of the control plane is ready, and how much memory it keeps. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { performance } from "node:perf_hooks"
import { rolldown } from "rolldown"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import { ensureBundle } from "../src/local/Bundle.ts"
import { freePort } from "../src/process/Ports.ts"
import { type Bench, BenchFailed, failed } from "./harness/Bench.ts"
import * as Load from "./harness/Load.ts"
import { spawn } from "./harness/Pinned.ts"
import { alternate, figure } from "./harness/Rounds.ts"
import { fillCrowd, planeDatabase } from "./plane/Database.ts"
import { routerDomain } from "./plane/Config.ts"
import { requestFor } from "./route/Requests.ts"

/** As many routes as an instance keeps. */
const cachedRoutes = 100_000
const mb = 1e6
/** The heap that Node allows itself on a machine of 256 MB; on a large one it rather grows than collects. */
const small = ["--max-old-space-size=128", "--max-semi-space-size=1"]

/** Resident, what it shares included: what a machine's size has to hold. */
const residentMb = (pid: number) =>
  Effect.try({
    try: () => (Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024) / mb,
    catch: failed("its memory")
  })

/** In one file, as the plane's own bundle is. */
const bareBundle = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "valet-bench-" }), failed("no folder"))
  const file = join(folder, "bare.mjs")
  yield* Effect.tryPromise({
    try: async () => {
      const bundle = await rolldown({
        input: fileURLToPath(new URL("boot/Bare.ts", import.meta.url)),
        platform: "node",
        treeshake: true,
        logLevel: "silent"
      })
      await bundle.write({ file, format: "esm", minify: "dce-only", codeSplitting: false })
      await bundle.close()
    },
    catch: failed("the bare server's bundle")
  })
  return file
})

/** Of Fly, whose API nobody serves here, the loops get only refusals. */
const planeEnv = (url: string) => ({
  DATABASE_URL: url,
  CONTROL_PLANE_HOST: "127.0.0.1",
  CONTROL_PLANE_SECRET: "bench-secret-0123456789-0123456789",
  VALET_FLY_TOKEN: "bench",
  VALET_FLY_APP: "valet-projects",
  VALET_FLY_IMAGE: "registry.example/project:1",
  VALET_FLY_API_URL: "http://127.0.0.1:9",
  WARM_POOL_SIZE: "0",
  ROUTER_DOMAIN: routerDomain
})

const launch = (name: string, command: ReadonlyArray<string>, env: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const port = yield* Effect.mapError(freePort, failed("no free port"))
    const begun = performance.now()
    const started = yield* spawn({
      name,
      core: "server",
      command: [process.execPath, ...command],
      env: { ...env, CONTROL_PLANE_PORT: String(port) }
    })
    yield* Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/health/ready`)).pipe(
      Effect.filterOrFail((response) => response.status === 200),
      Effect.retry(Schedule.spaced("2 millis").pipe(Schedule.upTo({ duration: "20 seconds" }))),
      Effect.mapError(() => new BenchFailed({ detail: `${name} is not ready:\n${started.said()}` }))
    )
    return { ...started, port, readyMs: performance.now() - begun }
  })

const run = ({ quick }: { readonly quick: boolean }) =>
  Effect.gen(function* () {
    const database = yield* planeDatabase
    const { valet } = yield* Effect.mapError(ensureBundle, failed("the bundle"))
    const bare = yield* bareBundle
    const serving = (flags: ReadonlyArray<string>) =>
      launch("valet serve", [...flags, valet, "serve"], planeEnv(database.url))
    const plane = serving([])
    const starting = (server: typeof plane) =>
      Effect.map(Effect.scoped(server), ({ readyMs }) => ({ values: { readyMs }, generatorCpu: null }))
    const started = yield* alternate("start to ready", quick ? 5 : 15, [
      { name: "bare Effect server", round: starting(launch("bare server", [bare], {})) },
      { name: "valet", round: starting(plane) }
    ])

    const idle = yield* Effect.scoped(
      Effect.gen(function* () {
        const { pid } = yield* serving(small)
        yield* Effect.sleep(quick ? "3 seconds" : "20 seconds")
        return yield* residentMb(pid)
      })
    )

    const projects = quick ? 120_000 : 1_000_000
    yield* fillCrowd(database, { projects, due: 1_000 })
    const generator = yield* Load.make
    const full = (server: typeof plane) =>
      Effect.scoped(
        Effect.gen(function* () {
          const { pid, port, said } = yield* server
          // One after the other from the table's first: each is asked for once, more than are kept.
          const asked = Array.from({ length: cachedRoutes * 1.15 }, (_, at) => requestFor(at + 1, false))
          const load = { mode: "http", port, connections: 64, warmupMs: 0, requests: asked } as const
          let done = 0
          for (let turn = 0; turn < 20 && done < asked.length; turn++) {
            const { total } = yield* generator
              .run({ ...load, requests: asked.slice(done), measureMs: 3_000 })
              .pipe(Effect.mapError(({ detail }) => new BenchFailed({ detail: `${detail}\n${said()}` })))
            done += total
          }
          if (done < asked.length) return yield* new BenchFailed({ detail: `only ${done} routes were asked for` })
          yield* Effect.sleep(quick ? "6 seconds" : "20 seconds")
          return yield* residentMb(pid)
        })
      )
    const memory = (name: string, value: number) =>
      figure({
        name,
        unit: "MB",
        series: [value],
        goal: { of: "value", atMost: 200 },
        note: "heap as on a machine of 256 MB"
      })
    const filled = `resident, ${projects} projects and a full route cache`
    return [
      figure({
        name: "start to ready",
        unit: "ms",
        series: started.of("valet", "readyMs"),
        base: { name: "bare Effect server", series: started.of("bare Effect server", "readyMs") },
        goal: { atMost: 1.5 }
      }),
      memory("resident, idle", idle),
      memory(filled, yield* full(serving(small))),
      ...(quick ? [] : [figure({ name: `${filled}, heap without a limit`, unit: "MB", series: [yield* full(plane)] })])
    ]
  })

export const boot: Bench = {
  name: "boot",
  summary: "start of the control plane until it is ready, and the memory that it keeps",
  run
}
