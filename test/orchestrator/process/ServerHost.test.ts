/** Servers as real processes. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import { OrchestratorFolder } from "../../../src/orchestrator/OrchestratorFolder.ts"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { eventually } from "../../support/eventually.ts"
import { dies, hosted, isAlive, node, said } from "./support.ts"

const secret = "VALET_TEST_SECRET_OF_THE_PARENT"
beforeAll(() => void (process.env[secret] = "do-not-tell"))
afterAll(() => void delete process.env[secret])

const waits = "setInterval(() => {}, 1e6); console.log('ready')"
const stubborn = `process.on('SIGTERM', () => {}); ${waits}`
/** A leader that ends at SIGTERM, and a child of it in its group that does what it is told. */
const withChild = (child: string, leader = waits) =>
  `const c = require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: ['ignore', 'pipe', 'ignore'] })
   c.stdout.once('data', () => { console.log('child ' + c.pid); ${leader} })`

const launch = Effect.fnUntraced(function* (
  command: ReadonlyArray<string>,
  env: Record<string, string> = {},
  name = "one"
) {
  const { root } = yield* OrchestratorFolder
  return yield* (yield* ServerHost).launch({ name, command, cwd: root, env })
})

const marks = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.readDirectory((yield* OrchestratorFolder).own("run", "children"))
})

describe("a server", () => {
  it.live("listens on the port that it is given, is asked for its health, and is stopped", () =>
    hosted(() =>
      Effect.gen(function* () {
        const host = yield* ServerHost
        const server = yield* launch(
          node(
            `require('http').createServer((q, r) => { r.statusCode = q.url === '/health' ? 200 : 404; r.end() })
               .listen(process.env.PORT, '127.0.0.1')`
          )
        )
        assert.strictEqual((yield* marks).length, 1)
        yield* eventually(Effect.map(host.probe(server.port, "/health", 5_000), ({ _tag }) => _tag === "Healthy"))
        assert.deepStrictEqual(yield* host.probe(server.port, "/", 5_000), { _tag: "Listening" })
        yield* server.stop(20_000)
        assert.deepStrictEqual(yield* server.exited, { code: 143, signal: "SIGTERM" })
        assert.deepStrictEqual(yield* host.probe(server.port, "/health", 5_000), { _tag: "Closed" })
        yield* eventually(Effect.map(marks, (all) => all.length === 0))
        yield* server.stop(20_000)
      })
    )
  )

  it.live("gets what it is given and the few names that all inherit, and reads nothing from its input", () =>
    hosted(() =>
      Effect.gen(function* () {
        const { childEnvironment } = yield* OrchestratorFolder
        const server = yield* launch(node(`process.stdin.on('end', () => console.log('end')).resume(); ${waits}`), {
          MINE: "a b",
          PORT: "1"
        })
        yield* said(server, "ready")
        const environ = readFileSync(`/proc/${server.pid}/environ`, "utf8")
          .split("\0")
          .filter((entry) => entry !== "")
        assert.include(environ, "MINE=a b")
        assert.include(environ, `PORT=${server.port}`)
        assert.include(environ, `VALET_ORCHESTRATOR=${childEnvironment["VALET_ORCHESTRATOR"]}`)
        const names = environ.map((entry) => entry.split("=")[0])
        const known = [
          "PATH",
          "HOME",
          "TMPDIR",
          "LANG",
          "TZ",
          "MINE",
          "PORT",
          "VALET_ORCHESTRATOR",
          "VALET_SERVER",
          "PWD",
          "OLDPWD",
          "SHLVL",
          "_"
        ]
        assert.deepStrictEqual(
          names.filter((name) => !known.includes(name ?? "")),
          []
        )
        assert.notInclude(environ.join(), "do-not-tell")
        yield* said(server, "end")
      })
    )
  )

  it.live("that never listens is closed, and alive", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node(waits))
        yield* said(server, "ready")
        assert.deepStrictEqual(yield* (yield* ServerHost).probe(server.port, "/", 5_000), { _tag: "Closed" })
        assert.isTrue(isAlive(server.pid))
        assert.isAbove((yield* server.memory) ?? 0, 10_000_000)
      })
    )
  )

  it.live("that ends at once says how and what it last wrote; its mark goes, stop has nothing to do", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node("console.log('out'); console.error('Error: no disk'); process.exit(3)"))
        assert.deepStrictEqual(yield* server.exited, { code: 3, signal: null })
        assert.sameMembers([...(yield* server.output)], ["out", "Error: no disk"])
        yield* server.stop(20_000)
        yield* eventually(Effect.map(marks, (all) => all.length === 0))
        assert.strictEqual(yield* server.memory, 0)
      })
    )
  )

  it.live("that ignores SIGTERM is killed after its grace", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node(stubborn))
        yield* said(server, "ready")
        yield* server.stop(200)
        assert.isFalse(isAlive(server.pid))
        assert.deepStrictEqual(yield* server.exited, { code: 137, signal: "SIGKILL" })
      })
    )
  )

  it.live("is stopped for all who ask, within the shortest grace, also if the first of them is gone", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node(stubborn))
        yield* said(server, "ready")
        const first = yield* Effect.forkChild(server.stop(600_000), { startImmediately: true })
        const second = yield* Effect.forkChild(server.stop(600_000), { startImmediately: true })
        yield* Fiber.interrupt(first)
        assert.isTrue(isAlive(server.pid))
        yield* server.stop(100)
        yield* Fiber.join(second)
        assert.isFalse(isAlive(server.pid))
      })
    )
  )

  it.live("takes its children with it: the stubborn at the end of the grace", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node(withChild(stubborn)))
        const child = Number(yield* said(server, "child "))
        yield* server.stop(500)
        assert.isFalse(isAlive(child))
        assert.deepStrictEqual(yield* server.exited, { code: 143, signal: "SIGTERM" })
      })
    )
  )

  it.live("that ends before its children leaves them the grace of the stop", () =>
    hosted((dataDir) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const file = `${dataDir}/flushed`
        // Longer than what children of a server that ended by itself get.
        const slow = `process.on('SIGTERM', () => setTimeout(() => {
          require('fs').writeFileSync(${JSON.stringify(file)}, ''); process.exit() }, 3000)); ${waits}`
        const server = yield* launch(node(withChild(slow)))
        yield* said(server, "child ")
        yield* server.stop(60_000)
        assert.isTrue(yield* fs.exists(file))
      })
    )
  )

  it.live("takes along who left its group, and nobody else's", () =>
    hosted(() =>
      Effect.gen(function* () {
        const away = withChild(stubborn).replace("stdio:", "detached: true, stdio:")
        const server = yield* launch(node(away))
        const other = yield* launch(node(away), {}, "two")
        const [child, others] = [Number(yield* said(server, "child ")), Number(yield* said(other, "child "))]
        yield* server.stop(20_000)
        assert.isFalse(isAlive(child))
        assert.isTrue(isAlive(others))
      })
    )
  )

  it.live("that ends by itself leaves no children behind", () =>
    hosted(() =>
      Effect.gen(function* () {
        const server = yield* launch(node(withChild(stubborn, "process.exit(0)")))
        assert.deepStrictEqual(yield* server.exited, { code: 0, signal: null })
        const child = Number(yield* said(server, "child "))
        yield* dies(child)
        yield* eventually(Effect.map(marks, (all) => all.length === 0))
      })
    )
  )

  it.live("is killed with its children when its scope closes, and whoever waits for its end is told", () =>
    hosted(() =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const server = yield* launch(node(withChild(stubborn, stubborn))).pipe(Scope.provide(scope))
        const child = Number(yield* said(server, "child "))
        const stopped = yield* Effect.forkChild(server.stop(600_000), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(isAlive(server.pid))
        assert.isFalse(isAlive(child))
        assert.deepStrictEqual(yield* marks, [])
        yield* Fiber.join(stopped)
        assert.strictEqual((yield* server.exited).signal, "SIGKILL")
      })
    )
  )

  it.live("that writes 100 MB is not held up, and its log stays small", () =>
    hosted(() =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { own } = yield* OrchestratorFolder
        const server = yield* launch(
          node(
            `let left = 1600; const chunk = 'x'.repeat(65535) + '\\n'
             const go = () => { while (left-- > 0) if (!process.stdout.write(chunk)) return process.stdout.once('drain', go)
               process.stdout.write('all\\n') }
             go()`
          )
        )
        assert.deepStrictEqual(yield* server.exited, { code: 0, signal: null })
        const lines = yield* server.output
        assert.strictEqual(lines.at(-1), "all")
        assert.strictEqual(lines.length, 50)
        const sizes = yield* Effect.forEach(["one.log", "one.log.1"], (name) =>
          Effect.map(fs.stat(own("logs", name)), (info) => Number(info.size))
        )
        for (const size of sizes) assert.isAtMost(size, 10 * 1024 * 1024)
        assert.deepStrictEqual(yield* fs.readDirectory(own("logs")), ["one.log", "one.log.1"])
      })
    )
  )

  it.live("whose log can't be written goes on", () =>
    hosted(() =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { own } = yield* OrchestratorFolder
        yield* fs.makeDirectory(own("logs", "one.log", "in the way"), { recursive: true })
        const server = yield* launch(node("process.stdout.write('x'.repeat(1e6) + '\\nall\\n')"))
        assert.deepStrictEqual(yield* server.exited, { code: 0, signal: null })
        assert.strictEqual((yield* server.output).at(-1), "all")
      })
    )
  )

  it.live("that is renamed writes to the other log from then on", () =>
    hosted(() =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { own } = yield* OrchestratorFolder
        const server = yield* launch(
          node("process.on('SIGUSR2', () => console.log('after')); console.log('before'); setInterval(() => {}, 1e6)")
        )
        yield* said(server, "before")
        yield* server.rename("two")
        process.kill(server.pid, "SIGUSR2")
        yield* said(server, "after")
        yield* server.stop(20_000)
        assert.strictEqual(yield* fs.readFileString(own("logs", "one.log")), "before\n")
        assert.strictEqual(yield* fs.readFileString(own("logs", "two.log")), "after\n")
      })
    )
  )
})

describe("a command", () => {
  it.live("is found in the child's PATH and in its folder", () =>
    hosted((dataDir) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        yield* fs.makeDirectory(`${dataDir}/bin`)
        yield* fs.writeFileString(`${dataDir}/bin/mine`, "#!/bin/sh\necho found\n")
        yield* fs.chmod(`${dataDir}/bin/mine`, 0o755)
        for (const [command, path] of [
          ["mine", `${dataDir}/bin`],
          ["./bin/mine", "/nowhere"]
        ] as const) {
          const server = yield* launch([command], { PATH: path })
          assert.deepStrictEqual(yield* server.exited, { code: 0, signal: null })
          assert.deepStrictEqual(yield* server.output, ["found"])
        }
      })
    )
  )

  it.live.each([
    { what: "unknown", command: ["no-such-program"], detail: /no-such-program/ },
    { what: "not there", command: ["./no/such"], detail: /\.\/no\/such/ },
    { what: "not executable", command: [fileURLToPath(import.meta.url)], detail: /ServerHost\.test/ },
    { what: "a folder", command: ["/tmp"], detail: /\/tmp/ },
    { what: "empty", command: [], detail: /no program/ },
    { what: "with a NUL", command: ["sh", "a\0b"], detail: /NUL/ }
  ])("that can't run is an error that names it: $what", ({ command, detail }) =>
    hosted(() =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(launch(command))
        assert.strictEqual(error._tag, "LaunchError")
        assert.match(error.message, detail)
        assert.deepStrictEqual(yield* marks, [])
      })
    )
  )

  it.live("whose folder is not there is an error", () =>
    hosted((dataDir) =>
      Effect.gen(function* () {
        const host = yield* ServerHost
        const error = yield* Effect.flip(host.launch({ name: "one", command: ["sh"], cwd: `${dataDir}/gone`, env: {} }))
        assert.include(error.message, `${dataDir}/gone`)
      })
    )
  )

  it.live("does not run before its mark is noted", () =>
    hosted((dataDir) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { own } = yield* OrchestratorFolder
        yield* fs.remove(own("run", "children"), { recursive: true })
        const error = yield* Effect.flip(launch(["sh", "-c", `echo > ${dataDir}/ran`]))
        assert.strictEqual(error._tag, "LaunchError")
        assert.isFalse(yield* fs.exists(`${dataDir}/ran`))
      })
    )
  )
})
