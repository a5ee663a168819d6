/**
 * Where the bundles of this build are. In a package they lie there; in a checkout they are made when a source has
 * changed since, once however many processes ask at the same time.
 */
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { fingerprint } from "./BundleFingerprint.ts"

export interface Bundle {
  /** The command line. */
  readonly valet: string
  readonly projectServer: string
}

export class BundleError extends Schema.TaggedError<BundleError>()("BundleError", { detail: Schema.String }) {
  override get message() {
    return `the bundle can't be made: ${this.detail}`
  }
}

const bundleIn = (folder: string): Bundle => ({
  valet: join(folder, "valet.mjs"),
  projectServer: join(folder, "project-server.mjs")
})

const here = dirname(fileURLToPath(import.meta.url))
/** `dist/chunks` or `dist/local`; in a checkout `src/local`. */
const packaged = [here, join(here, ".."), join(here, "..", "..")]
const root = join(here, "..", "..")
const dist = join(root, "dist")
const lock = join(dist, "bundle.lock")

/** Bundling takes seconds; a builder that died leaves a lock whose process is gone. */
const waitForBuilder = Schedule.spaced("100 millis").pipe(Schedule.upTo({ duration: "2 minutes" }))

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const fresh = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const sources = yield* Effect.promise(() => fingerprint(root))
  const bundled = yield* fs.readFileString(join(dist, "bundle.fingerprint")).pipe(Effect.orElseSucceed(() => ""))
  return sources === bundled
})

const acquire = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(dist, { recursive: true })
  const holder = yield* fs.readFileString(lock).pipe(Effect.orElseSucceed(() => ""))
  if (holder !== "" && !isRunning(Number(holder))) yield* fs.remove(lock, { force: true })
  yield* fs.writeFileString(lock, String(process.pid), { flag: "wx" })
})

const build = Effect.gen(function* () {
  const spawner = yield* ChildProcessSpawner
  const handle = yield* spawner.spawn(
    ChildProcess.make(process.execPath, [join(root, "scripts", "bundle.ts")], {
      cwd: root,
      extendEnv: true,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit"
    })
  )
  const code = yield* handle.exitCode
  if (code !== 0) return yield* new BundleError({ detail: `scripts/bundle.ts ended with ${code}` })
}).pipe(Effect.scoped)

const made = Effect.gen(function* () {
  if (yield* fresh) return bundleIn(dist)
  const fs = yield* FileSystem.FileSystem
  yield* Effect.acquireUseRelease(
    Effect.retry(acquire, waitForBuilder),
    // Another process may have made it while this one waited.
    () => Effect.flatMap(fresh, (done) => (done ? Effect.void : build)),
    () => Effect.ignore(fs.remove(lock, { force: true }))
  )
  return bundleIn(dist)
}).pipe(Effect.catchTag("PlatformError", (error) => Effect.fail(new BundleError({ detail: error.message }))))

/** Their paths; made first where this is a checkout and they are stale. */
export const ensureBundle: Effect.Effect<Bundle, BundleError, FileSystem.FileSystem | ChildProcessSpawner> = Effect.gen(
  function* () {
    const fs = yield* FileSystem.FileSystem
    for (const folder of packaged) {
      const bundle = bundleIn(folder)
      const there = yield* Effect.orElseSucceed(fs.exists(bundle.valet), () => false)
      if (there) return bundle
    }
    return yield* made
  }
)
