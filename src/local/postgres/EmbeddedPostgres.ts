/**
 * A PostgreSQL server of one's own in a folder, for development and tests: listens on loopback only, with a password
 * that stands in the folder, and ends with the scope that started it. One that dies before is started again on the same
 * port. A server that an earlier process could not end is stopped before the folder is used again; one whose process
 * still lives is left alone.
 *
 * The folder holds `data` (the cluster, kept), `password`, `owner.json` (who runs it) and `postgres.log`.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { freePort } from "../../process/Ports.ts"
import { isAlive, markOf, ProcessMark } from "../../process/ProcessMark.ts"
import { binaries } from "./Binaries.ts"
import { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"
import { isPostmasterOf, postmasterOf, stopPostmaster } from "./Postmaster.ts"
import { unprivileged } from "./Unprivileged.ts"

export interface EmbeddedPostgresOptions {
  readonly folder: string
  /** 0 (the default): a free one. */
  readonly port?: number
  /** False: nothing is forced to disk; faster, for data that may be lost with the machine's power. Default true. */
  readonly durable?: boolean
}

const anyPort = Effect.mapError(
  freePort,
  (error) => new EmbeddedPostgresError({ reason: "StartFailed", detail: `no free port: ${error.message}` })
)

const user = "valet"

/** A recovery after a crash may take its time. */
const startsWithin = Duration.seconds(30)

/** After its end, and after each start that fails: backends of the one before may hold its memory for a moment. */
const pauses = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("5 seconds")])

const make = Effect.fnUntraced(function* (options: EmbeddedPostgresOptions) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const random = yield* SecureRandom.SecureRandom
  const spawner = yield* ChildProcessSpawner
  const programs = yield* binaries
  const run = yield* unprivileged(programs.postgres)
  const folder = path.resolve(options.folder)
  const data = path.join(folder, "data")
  const passwordFile = path.join(folder, "password")
  const logFile = path.join(folder, "postgres.log")

  yield* fs.makeDirectory(folder, { recursive: true, mode: 0o700 })
  yield* stopLeftover(folder, data)

  const password = yield* fs.readFileString(passwordFile).pipe(
    Effect.catch(() =>
      Effect.gen(function* () {
        const bytes = yield* random.randomBytes(24)
        const fresh = Buffer.from(bytes).toString("base64url")
        yield* fs.writeFileString(passwordFile, fresh, { mode: 0o600 })
        return fresh
      })
    )
  )

  if (run.owner !== null) yield* give(folder, data, run.owner)

  /** Into a folder beside, renamed when complete: an interrupted one is begun again. */
  const initialise = Effect.gen(function* () {
    const fresh = path.join(folder, "data.new")
    yield* fs.remove(fresh, { recursive: true, force: true })
    const [command, args] = run.command(programs.initdb, [
      `--pgdata=${fresh}`,
      `--username=${user}`,
      "--auth=scram-sha-256",
      // The password is random: iterations would only slow each connection down.
      "--set=scram_iterations=1",
      `--pwfile=${passwordFile}`,
      "--encoding=UTF8",
      "--locale=C",
      "--no-sync",
      "--no-instructions"
    ])
    const process = yield* spawner.spawn(ChildProcess.make(command, args, { stdin: "ignore", extendEnv: true }))
    const [code, said] = yield* Effect.all([process.exitCode, Stream.mkString(Stream.decodeText(process.all))], {
      concurrency: 2
    })
    if (code !== 0) {
      return yield* new EmbeddedPostgresError({ reason: "InitFailed", detail: `initdb ended with ${code}: ${said}` })
    }
    yield* fs.rename(fresh, data)
  }).pipe(Effect.scoped)
  if (!(yield* fs.exists(data))) yield* initialise

  /** One life of the server: `onReady` once it takes connections; returns when it has ended. */
  const life = <E>(port: number, logFlag: "w" | "a", onReady: Effect.Effect<unknown, E>) =>
    Effect.gen(function* () {
      const [command, args] = run.command(programs.postgres, ["-D", data, ...settings(port, options.durable ?? true)])
      const handle = yield* spawner.spawn(
        ChildProcess.make(command, args, {
          extendEnv: true,
          stdin: "ignore",
          stdout: "ignore",
          killSignal: "SIGINT",
          forceKillAfter: Duration.seconds(10)
        })
      )
      yield* handle.stderr.pipe(
        Stream.run(fs.sink(logFile, { flag: logFlag, mode: 0o600 })),
        Effect.tapCause((cause) => Effect.logDebug("the log of the embedded PostgreSQL ended", cause)),
        Effect.forkScoped
      )
      const ready = postmasterOf(data).pipe(
        Effect.map((found) => found !== null && found.pid === handle.pid && found.ready),
        Effect.repeat({ until: (is) => is, schedule: Schedule.spaced(20) }),
        Effect.timeoutOption(startsWithin)
      )
      const ended = Effect.exit(handle.exitCode)
      const outcome = yield* Effect.raceFirst(Effect.as(ended, "ended" as const), ready)
      if (outcome === "ended" || outcome._tag === "None") {
        const said = yield* fs.readFileString(logFile).pipe(Effect.orElseSucceed(() => ""))
        const detail = said.trim() || "it did not become ready"
        return yield* new EmbeddedPostgresError({ reason: "StartFailed", detail })
      }
      yield* onReady
      yield* ended
    }).pipe(Effect.scoped)

  const first = yield* Deferred.make<number, EmbeddedPostgresError | PlatformError>()
  const firstLife = (port: number) => life(port, "w", Deferred.succeed(first, port))
  /** A free port is free until somebody else takes it before the server does. */
  const started =
    options.port !== undefined && options.port !== 0
      ? firstLife(options.port)
      : Effect.flatMap(anyPort, firstLife).pipe(
          Effect.retry({ times: 4, while: (error) => error.message.includes("could not create any TCP/IP sockets") })
        )
  /** Whoever was given its address keeps it. */
  const again = (port: number) =>
    Effect.logWarning("PostgreSQL ended, starting it again").pipe(
      Effect.andThen(Effect.sleep("200 millis")),
      Effect.andThen(
        life(port, "a", Effect.void).pipe(
          Effect.tapError((error) => Effect.logWarning(error.message)),
          Effect.retry(pauses)
        )
      )
    )
  yield* started.pipe(
    Effect.tapCause((cause) => Deferred.failCause(first, cause)),
    Effect.andThen(Effect.flatMap(Deferred.await(first), (port) => Effect.forever(again(port)))),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logDebug("PostgreSQL is no longer looked after", cause)
    ),
    Effect.forkScoped
  )
  const port = yield* Deferred.await(first)
  const at = (database: string) => Redacted.make(`postgresql://${user}:${password}@127.0.0.1:${port}/${database}`)
  return { port, url: at("postgres"), urlOf: at }
})

/** The server insists on owning its files; an earlier start may have run as somebody else. */
const give = Effect.fnUntraced(function* (folder: string, data: string, owner: number) {
  const fs = yield* FileSystem.FileSystem
  const spawner = yield* ChildProcessSpawner
  const owners = yield* Effect.forEach([folder, data], (path) =>
    fs.stat(path).pipe(
      Effect.map(({ uid }) => Option.getOrElse(uid, () => owner)),
      Effect.orElseSucceed(() => owner)
    )
  )
  if (owners.every((uid) => uid === owner)) return
  const code = yield* spawner.exitCode(ChildProcess.make("chown", ["-R", `${owner}:${owner}`, folder]))
  if (code !== 0) {
    return yield* new EmbeddedPostgresError({ reason: "StartFailed", detail: `${folder} can't be given to ${owner}` })
  }
})

const settings = (port: number, durable: boolean): ReadonlyArray<string> => {
  const pairs = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "",
    max_connections: "300",
    timezone: "UTC",
    log_min_messages: "warning",
    log_min_error_statement: "panic",
    ...(durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off", autovacuum: "on" })
  }
  return Object.entries(pairs).flatMap(([name, value]) => ["-c", `${name}=${value}`])
}

const Owner = Schema.fromJsonString(ProcessMark)

/** Notes who runs the folder's server from now on; ends what a predecessor left. */
const stopLeftover = Effect.fnUntraced(function* (folder: string, data: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const ownerFile = path.join(folder, "owner.json")
  const left = yield* postmasterOf(data)
  if (left !== null && (yield* isPostmasterOf(data, left.pid))) {
    const owner = yield* fs.readFileString(ownerFile).pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Owner)),
      Effect.orElseSucceed(() => null)
    )
    if (owner !== null && (yield* isAlive(owner))) {
      return yield* new EmbeddedPostgresError({
        reason: "InUse",
        detail: `${folder} is in use by process ${owner.pid}`
      })
    }
    if (!(yield* stopPostmaster(data, left.pid))) {
      return yield* new EmbeddedPostgresError({
        reason: "StartFailed",
        detail: `process ${left.pid}, which an earlier run left, can't be stopped`
      })
    }
  }
  const mark = yield* markOf(process.pid)
  yield* fs.writeFileString(ownerFile, JSON.stringify(mark), { mode: 0o600 })
})

export class EmbeddedPostgres extends Context.Service<
  EmbeddedPostgres,
  {
    readonly port: number
    /** Of the database `postgres`, as its superuser. */
    readonly url: Redacted.Redacted
    urlOf(database: string): Redacted.Redacted
  }
>()("valet/local/EmbeddedPostgres") {
  static readonly layer = (
    options: EmbeddedPostgresOptions
  ): Layer.Layer<
    EmbeddedPostgres,
    EmbeddedPostgresError,
    FileSystem.FileSystem | Path.Path | ChildProcessSpawner | SecureRandom.SecureRandom
  > => Layer.effect(EmbeddedPostgres, startPostgres(options))
}

type Requirements = FileSystem.FileSystem | Path.Path | ChildProcessSpawner | SecureRandom.SecureRandom

/** Runs until the scope closes. */
export const startPostgres = (
  options: EmbeddedPostgresOptions
): Effect.Effect<EmbeddedPostgres["Service"], EmbeddedPostgresError, Requirements | Scope.Scope> =>
  make(options).pipe(
    Effect.catchTag("PlatformError", (error) =>
      Effect.fail(new EmbeddedPostgresError({ reason: "StartFailed", detail: error.message }))
    )
  )
