/** The project server and its bare counterpart as processes on volumes of their own, and the store that both use. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { ensureBundle } from "../../src/local/Bundle.ts"
import { freePort } from "../../src/process/Ports.ts"
import { failed } from "../harness/Bench.ts"
import { answers, rested, run, spawn } from "../harness/Pinned.ts"
import { start } from "../plane/Processes.ts"
import { secret, Stored } from "./Move.ts"

const script = (name: string) => fileURLToPath(new URL(`${name}.ts`, import.meta.url))

const temporary = Effect.flatMap(FileSystem.FileSystem, (fs) =>
  Effect.mapError(fs.makeTempDirectoryScoped({ prefix: "valet-bench-" }), failed("no temporary folder"))
)

const decodeStored = Schema.decodeUnknownEffect(Schema.fromJsonString(Stored))

/** Its objects go with the scope. */
export const makeStore = Effect.gen(function* () {
  const folder = yield* temporary
  const { port } = yield* start("archive/Store.ts", { OBJECTS: folder }, { core: "load" })
  return {
    port,
    /** A database of about so many bytes, under this key. */
    fill: (key: string, bytes: number) =>
      run({
        name: "fill",
        core: "any",
        command: [process.execPath, script("Fill"), join(folder, key), String(bytes)]
      }).pipe(
        Effect.flatMap(({ out }) => decodeStored(out)),
        Effect.mapError(failed("a database"))
      )
  }
})

/** In one file without types, as the server's own bundle is. */
const bareBundle = Effect.gen(function* () {
  const file = join(yield* temporary, "bare.mjs")
  yield* Effect.tryPromise({
    try: async () => {
      const bundle = await rolldown({ input: script("Bare"), platform: "node", logLevel: "silent" })
      await bundle.write({ file, format: "esm", codeSplitting: false })
      await bundle.close()
    },
    catch: failed("the bare script's bundle")
  })
  return file
})

/** Paths of programs. */
export const programs = Effect.gen(function* () {
  const { projectServer } = yield* Effect.mapError(ensureBundle, failed("bundle"))
  return { valet: projectServer, bare: yield* bareBundle }
})

/** On an empty volume, and as ready as one that waits in the pool. */
export const launch = (name: string, program: string) =>
  Effect.gen(function* () {
    const folder = yield* temporary
    const port = yield* Effect.mapError(freePort, failed("no free port"))
    const env = { PORT: String(port), DATA_DIR: folder, VALET_INTERNAL_SECRET: secret }
    const { pid, said } = yield* spawn({ name, core: "server", command: [process.execPath, program], env })
    yield* answers(port, "127.0.0.1", said)
    yield* Effect.sleep(rested)
    return { port, pid }
  })
