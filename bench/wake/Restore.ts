/**
 * How long project servers take to restore databases, as processes on an object store of this process, beside a bare
 * script that does the same; and how much memory it takes them.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { pipeline } from "node:stream"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import type { ConfigureRequest } from "../../src/contract/MachineProtocol.ts"
import { ensureBundle } from "../../src/local/Bundle.ts"
import * as DocumentDatabase from "../../src/project-server/DocumentDatabase.ts"
import { BenchFailed, failed, type Figure, type Needs } from "../harness/Bench.ts"
import { rested, spawn } from "../harness/Pinned.ts"
import { alternate, type Candidate, figure, type Series } from "../harness/Rounds.ts"

const kib = 1024
const mib = 1024 ** 2
const sizes = [
  { name: "1 KiB", bytes: kib },
  { name: "1 MiB", bytes: mib },
  { name: "10 MiB", bytes: 10 * mib },
  { name: "100 MiB", bytes: 100 * mib }
] as const
/**
 * In MB, of the memory that 100 MiB take at their highest above that of 1 MiB. Some hundred kilobytes are under way at a
 * time; the rest is what went through and Node has not yet collected, which has its bound too, a bare script's as well.
 */
const memoryBound = 64

/** The heap that Node allows itself on a machine of 256 MB. */
const small = ["--max-old-space-size=128", "--max-semi-space-size=1"]
/** As often as the plane does. */
const pollMs = 200

const secret = "bench-machine-secret"

/** A database of documents of a kibibyte each, closed. */
const writeDatabase = (path: string, bytes: number) => {
  const database = DocumentDatabase.open(path)
  const json = JSON.stringify("x".repeat(kib - 64))
  const documents = Math.max(1, Math.round(bytes / kib))
  for (let version = 1; version <= documents;) {
    database.begin()
    for (const end = Math.min(documents, version + 4_095); version <= end; version++) {
      database.put(`document-${version}`, json, version)
    }
    database.commit(version - 1)
  }
  database.checkpoint()
  database.close()
}

type Restore = NonNullable<ConfigureRequest["restore"]>

/** What `configure` says of an object. */
const restoreOf = async (folder: string, origin: string, key: string): Promise<Restore> => {
  const path = join(folder, key)
  const hash = createHash("sha256")
  for await (const piece of fs.createReadStream(path)) hash.update(piece)
  return {
    r2_key: key,
    r2_checksum: hash.digest("hex"),
    size: fs.statSync(path).size,
    download_url: `${origin}/${key}`
  }
}

/** Gives the files of a folder. */
const objectStore = (folder: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly origin: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => {
        const path = join(folder, new URL(request.url ?? "/", "http://store").pathname)
        response.setHeader("content-length", fs.statSync(path).size)
        pipeline(fs.createReadStream(path), response, (error) => error && response.destroy())
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ origin: `http://127.0.0.1:${port}`, close: () => server.close() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const memoryOf = (pid: number, what: "VmRSS" | "VmHWM") =>
  Effect.try({
    try: () =>
      (Number(new RegExp(`^${what}:\\s*(\\d+) kB`, "m").exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) *
        kib) /
      1e6,
    catch: failed("its memory")
  })

/** The kernel forgets the highest that was. */
const forgetPeak = (pid: number) =>
  Effect.try({ try: () => fs.writeFileSync(`/proc/${pid}/clear_refs`, "5"), catch: failed("its memory") })

const temporary = Effect.flatMap(FileSystem.FileSystem, (files) =>
  Effect.mapError(files.makeTempDirectoryScoped({ prefix: "valet-bench-" }), failed("no temporary folder"))
)

const asked: ConfigureRequest = { project_id: "bench", project_uid: "bench", deploy_key: "dk_bench", generation: 1 }

/** 202: it is still at it. */
const configure = (port: number, body: string) =>
  Effect.tryPromise({
    try: (signal) =>
      fetch(`http://127.0.0.1:${port}/internal/configure`, {
        method: "POST",
        headers: { authorization: `Bearer ${secret}` },
        body,
        signal
      }).then(async (answer) => ({ status: answer.status, text: await answer.text() })),
    catch: failed("a restore")
  }).pipe(
    Effect.repeat({ while: ({ status }) => status === 202, schedule: Schedule.spaced(pollMs) }),
    Effect.filterOrFail(
      ({ status }) => status === 200,
      ({ status, text }) => new BenchFailed({ detail: `a restore ended with ${status}: ${text}` })
    ),
    Effect.timeoutOrElse({
      duration: "2 minutes",
      orElse: () => Effect.fail(new BenchFailed({ detail: "a restore does not end" }))
    })
  )

/** A fresh process on an empty volume restores once. `command` is given its folder. */
const restoring = (name: string, command: (folder: string) => ReadonlyArray<string>, restore: Restore) =>
  Effect.gen(function* () {
    const folder = yield* temporary
    const server = yield* spawn({
      name,
      core: "server",
      command: [process.execPath, ...small, ...command(folder)],
      env: { DATA_DIR: folder, PORT: "0", VALET_INTERNAL_SECRET: secret }
    })
    const port = yield* Effect.sync(() => /listening on port (\d+)/.exec(server.said())?.[1]).pipe(
      Effect.filterOrFail(
        (port) => port !== undefined,
        () => new BenchFailed({ detail: `${name} does not listen:\n${server.said()}` })
      ),
      Effect.retry(Schedule.spaced("5 millis").pipe(Schedule.upTo({ duration: "30 seconds" })))
    )
    yield* Effect.sleep(rested)
    yield* forgetPeak(server.pid)
    const before = yield* memoryOf(server.pid, "VmRSS")
    const begun = performance.now()
    yield* configure(Number(port), JSON.stringify({ ...asked, restore }))
    const ms = performance.now() - begun
    return { values: { ms, memoryMb: (yield* memoryOf(server.pid, "VmHWM")) - before }, generatorCpu: null }
  }).pipe(Effect.scoped)

const bareScript = fileURLToPath(new URL("BareRestore.ts", import.meta.url))

const differences = (series: Series = [], from: Series = []): Series =>
  series.map((value, at) => {
    const less = from[at]
    return value === null || less === null || less === undefined ? null : value - less
  })

export const restores = (quick: boolean): Effect.Effect<ReadonlyArray<Figure>, BenchFailed, Needs> =>
  Effect.gen(function* () {
    const { projectServer } = yield* Effect.mapError(ensureBundle, failed("the bundle"))
    const folder = yield* temporary
    const { origin } = yield* objectStore(folder)
    const chosen = quick ? sizes.filter(({ name }) => name !== "10 MiB") : sizes
    const candidates = yield* Effect.forEach(chosen, ({ bytes, name }) =>
      Effect.gen(function* () {
        const restore = yield* Effect.tryPromise({
          try: () => {
            const key = String(bytes)
            writeDatabase(join(folder, key), bytes)
            return restoreOf(folder, origin, key)
          },
          catch: failed("a database")
        })
        const bare = (folder: string) => [bareScript, folder, restore.download_url, restore.r2_checksum]
        const pair: ReadonlyArray<Candidate<"ms" | "memoryMb", BenchFailed, Needs>> = [
          { name: `bare, ${name}`, round: restoring("bare restore", bare, restore) },
          { name: `project server, ${name}`, round: restoring("project server", () => [projectServer], restore) }
        ]
        return pair
      })
    )
    const found = yield* alternate("restore", quick ? 2 : 9, candidates.flat())
    const times = chosen.map(({ name }) =>
      figure({
        name: `restore of ${name} of documents`,
        unit: "ms",
        series: found.of(`project server, ${name}`, "ms"),
        base: { name: "bare restore", series: found.of(`bare, ${name}`, "ms") },
        goal: { atMost: 1.3 }
      })
    )
    const memory = (who: string, name: string) => found.of(`${who}, ${name}`, "memoryMb")
    const above = (who: string) => differences(memory(who, "100 MiB"), memory(who, "1 MiB"))
    const note = "heap as on a machine of 256 MB"
    return [
      ...times,
      figure({
        name: "restore of 100 MiB: memory at its highest, above before",
        unit: "MB",
        series: memory("project server", "100 MiB"),
        base: { name: "bare restore", series: memory("bare", "100 MiB") },
        note
      }),
      figure({
        name: "restore of 100 MiB: memory above that of 1 MiB",
        unit: "MB",
        series: above("project server"),
        base: { name: "bare restore", series: above("bare") },
        goal: { of: "value", atMost: memoryBound },
        note
      })
    ]
  })
