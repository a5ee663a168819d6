/** The orchestrator's own folder: whom it lets in, and what it finds of a predecessor that was killed. */
import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type { OrchestratorConfigValue } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OrchestratorFolder } from "../../../src/orchestrator/OrchestratorFolder.ts"
import { havingInEnvironment, signalProcess } from "../../../src/process/ProcessInfo.ts"
import { markOf } from "../../../src/process/ProcessMark.ts"
import { eventually } from "../../support/eventually.ts"
import { dies, isAlive, layerAt, node, temporary } from "../process/support.ts"

const opened = <A, E>(
  dataDir: string,
  body: (folder: OrchestratorFolder["Service"]) => Effect.Effect<A, E, FileSystem.FileSystem>,
  config?: Partial<OrchestratorConfigValue>
) => Effect.flatMap(OrchestratorFolder, body).pipe(Effect.provide(layerAt(dataDir, config), { local: true }))

const refusal = (dataDir: string, config?: Partial<OrchestratorConfigValue>) =>
  Effect.map(Effect.flip(opened(dataDir, () => Effect.void, config)), (error) => error.message)

const test = (title: string, body: (dataDir: string) => Effect.Effect<void, unknown, Services>) =>
  it.live(title, () => Effect.flatMap(temporary, body).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
type Services = Effect.Services<typeof temporary> | ChildProcessSpawner.ChildProcessSpawner

const permissions = (path: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return ((yield* fs.stat(path)).mode & 0o777).toString(8)
  })

describe("the folder", () => {
  test("is made for its user alone, with its parts", (parent) =>
    opened(`${parent}/a/data`, ({ root, own }) =>
      Effect.gen(function* () {
        assert.strictEqual(root, `${parent}/a/data`)
        for (const path of [root, own(), own("logs"), own("run")]) assert.strictEqual(yield* permissions(path), "700")
      })
    ))

  test("that is there keeps its permissions, its own part gets them narrowed", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* fs.chmod(dataDir, 0o755)
      yield* fs.makeDirectory(`${dataDir}/.valet`, { mode: 0o755 })
      yield* opened(dataDir, () => Effect.void)
      assert.strictEqual(yield* permissions(dataDir), "755")
      assert.strictEqual(yield* permissions(`${dataDir}/.valet`), "700")
    }))

  test("that a link names is used where it leads to", (parent) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* fs.makeDirectory(`${parent}/real`)
      yield* fs.symlink(`${parent}/real`, `${parent}/link`)
      yield* opened(`${parent}/link`, ({ root }) => Effect.sync(() => assert.strictEqual(root, `${parent}/real`)))
    }))

  for (const part of [".valet", ".valet/logs", ".valet/run"]) {
    test(`whose ${part} is a link is refused`, (parent) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const dataDir = `${parent}/data`
        yield* fs.makeDirectory(`${parent}/elsewhere`)
        yield* fs.makeDirectory(part === ".valet" ? dataDir : `${dataDir}/.valet`, { recursive: true })
        yield* fs.symlink(`${parent}/elsewhere`, `${dataDir}/${part}`)
        assert.match(yield* refusal(dataDir), /symbolic link/)
        assert.deepStrictEqual(yield* fs.readDirectory(`${parent}/elsewhere`), [])
      }))
  }

  test("whose .valet is a file is refused", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFileString(`${dataDir}/.valet`, "")
      assert.match(yield* refusal(dataDir), /is not a folder/)
    }))
})

describe("the admin token", () => {
  test("is made once, kept for its user alone, and the same at the next start", (dataDir) =>
    Effect.gen(function* () {
      const token = opened(dataDir, ({ adminToken }) => Effect.succeed(Redacted.value(adminToken)))
      const first = yield* token
      assert.match(first, /^[A-Za-z0-9_-]{43}$/)
      assert.strictEqual(yield* token, first)
      assert.strictEqual(yield* permissions(`${dataDir}/.valet/admin-token`), "600")
    }))

  test("of the configuration is used and written nowhere", (dataDir) =>
    opened(
      dataDir,
      ({ adminToken, own }) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          assert.strictEqual(Redacted.value(adminToken), "mine-and-nobody-elses")
          assert.isFalse(yield* fs.exists(own("admin-token")))
        }),
      { adminToken: Redacted.make("mine-and-nobody-elses") }
    ))

  test("of the configuration that is empty, short or has blanks is refused, and not told", (dataDir) =>
    Effect.forEach(
      ["", "short-1", "with blanks in between"],
      (token) =>
        Effect.gen(function* () {
          const message = yield* refusal(dataDir, { adminToken: Redacted.make(token) })
          assert.match(message, /VALET_ADMIN_TOKEN, is no token: it takes 16 characters/)
          if (token !== "") assert.notInclude(message, token)
        }),
      { discard: true }
    ))

  test("that is damaged, or a link to another file, is refused", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = `${dataDir}/.valet/admin-token`
      yield* opened(dataDir, () => Effect.void)
      yield* fs.writeFileString(path, "")
      assert.match(yield* refusal(dataDir), /admin-token holds no token/)
      yield* fs.remove(path)
      yield* fs.writeFileString(`${dataDir}/other`, "x".repeat(43))
      yield* fs.symlink(`${dataDir}/other`, path)
      assert.match(yield* refusal(dataDir), /admin-token is a symbolic link/)
    }))
})

const serve = fileURLToPath(new URL("serve.ts", import.meta.url))

/** Another process that holds the folder and has launched these. */
const predecessor = Effect.fnUntraced(function* (dataDir: string, commands: ReadonlyArray<ReadonlyArray<string>>) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const handle = yield* spawner.spawn(
    ChildProcess.make(process.execPath, [serve, dataDir, JSON.stringify(commands)], {
      extendEnv: true,
      killSignal: "SIGKILL"
    })
  )
  const lines = yield* handle.all.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.takeUntil((line) => line === "up"),
    Stream.runCollect
  )
  // What it leaves, and nobody ended, goes with the test.
  const fs = yield* FileSystem.FileSystem
  const { dev, ino } = yield* fs.stat(dataDir)
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* signalProcess(Number(handle.pid), "SIGKILL")
      const left = yield* havingInEnvironment(`VALET_ORCHESTRATOR=${dev}:${Option.getOrThrow(ino)}`)
      for (const { pid } of left) yield* signalProcess(pid, "SIGKILL")
      for (const { pid } of left) yield* Effect.orDie(dies(pid))
    })
  )
  assert.strictEqual(lines.at(-1), "up", [...lines].join("\n"))
  return {
    pid: Number(handle.pid),
    servers: lines.filter((line) => line.startsWith("pid ")).map((line) => Number(line.slice(4)))
  }
})

const killed = Effect.fnUntraced(function* (dataDir: string, commands: ReadonlyArray<ReadonlyArray<string>>) {
  const before = yield* predecessor(dataDir, commands)
  process.kill(before.pid, "SIGKILL")
  yield* dies(before.pid)
  return before.servers
})

const waits = "setInterval(() => {}, 1e6)"
/** Writes the pid of a child of its own. `detached`: in a group of its own. */
const parent = (file: string, detached: boolean) =>
  node(
    `const c = require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'],
       { stdio: 'ignore', detached: ${detached} })
     require('fs').writeFileSync(${JSON.stringify(`${file}.new`)}, String(c.pid))
     require('fs').renameSync(${JSON.stringify(`${file}.new`)}, ${JSON.stringify(file)})
     ${waits}`
  )

const pidIn = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  yield* eventually(fs.exists(file))
  return Number(yield* fs.readFileString(file))
})

const marksOf = Effect.fnUntraced(function* (dataDir: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.readDirectory(`${dataDir}/.valet/run/children`)
})

describe("a second orchestrator", () => {
  test("is refused while the first lives, in this process or another, and told what to do", (dataDir) =>
    Effect.gen(function* () {
      yield* opened(dataDir, () =>
        Effect.gen(function* () {
          assert.include(yield* refusal(dataDir), `process ${process.pid}: stop it, or choose another --data-dir`)
        })
      )
      const first = yield* predecessor(dataDir, [node(waits)])
      assert.include(yield* refusal(dataDir), `${dataDir} is in use by an orchestrator, process ${first.pid}:`)
      for (const pid of first.servers) assert.isTrue(isAlive(pid))
    }))

  test("is refused also where the first can't be seen, as in another container, until that has ended", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      yield* Effect.scoped(
        Effect.gen(function* () {
          const first = yield* predecessor(dataDir, [node(waits)])
          const marks = `${dataDir}/.valet/run/lock`
          for (const name of yield* fs.readDirectory(marks)) yield* fs.remove(`${marks}/${name}`)
          assert.include(yield* refusal(dataDir), "a process of another container or computer: stop it")
          for (const pid of first.servers) assert.isTrue(isAlive(pid))
        })
      )
      yield* opened(dataDir, () => Effect.void)
    }))

  test("comes in after the first has ended, however it did", (dataDir) =>
    Effect.gen(function* () {
      yield* opened(dataDir, () => Effect.void)
      yield* opened(dataDir, () => Effect.void)
      yield* killed(dataDir, [])
      yield* opened(dataDir, () => Effect.void)
    }))
})

describe("an orchestrator that was killed", () => {
  test("leaves its servers; the next ends them, the stubborn too, before it is ready", (dataDir) =>
    Effect.gen(function* () {
      const stubborn = node(`process.on('SIGTERM', () => {}); ${waits}`)
      const servers = yield* killed(dataDir, [node(waits), stubborn, ["sh", "-c", "sleep 1000 & sleep 1000"]])
      assert.strictEqual(servers.length, 3)
      for (const pid of servers) assert.isTrue(isAlive(pid))
      yield* opened(dataDir, ({ childEnvironment }) =>
        Effect.gen(function* () {
          for (const pid of servers) assert.isFalse(isAlive(pid))
          assert.deepStrictEqual(
            yield* havingInEnvironment(`VALET_ORCHESTRATOR=${childEnvironment["VALET_ORCHESTRATOR"]}`),
            []
          )
          assert.deepStrictEqual(yield* marksOf(dataDir), [])
        })
      )
    }))

  test("leaves children of servers that are dead; they are ended, also outside their group", (dataDir) =>
    Effect.gen(function* () {
      const [one, two] = [`${dataDir}/one`, `${dataDir}/two`]
      const before = yield* predecessor(dataDir, [parent(one, false), parent(two, true)])
      const children = [yield* pidIn(one), yield* pidIn(two)]
      for (const pid of [before.pid, ...before.servers]) process.kill(pid, "SIGKILL")
      for (const pid of [before.pid, ...before.servers]) yield* dies(pid)
      for (const pid of children) assert.isTrue(isAlive(pid))
      yield* opened(dataDir, () => Effect.void)
      for (const pid of children) assert.isFalse(isAlive(pid))
    }))

  test("whose marks are lost or damaged leaves nobody nevertheless", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const servers = yield* killed(dataDir, [node(waits), node(waits)])
      const folder = `${dataDir}/.valet/run/children`
      const [first = "", second = ""] = yield* marksOf(dataDir)
      yield* fs.remove(`${folder}/${first}`)
      yield* fs.rename(`${folder}/${second}`, `${folder}/what is this`)
      yield* opened(dataDir, () => Effect.void)
      for (const pid of servers) assert.isFalse(isAlive(pid))
      assert.deepStrictEqual(yield* marksOf(dataDir), [])
    }))

  test("whose marks are lost leaves no child of a dead server either", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${dataDir}/child`
      const before = yield* predecessor(dataDir, [parent(file, false)])
      const child = yield* pidIn(file)
      for (const pid of [before.pid, ...before.servers]) process.kill(pid, "SIGKILL")
      for (const pid of [before.pid, ...before.servers]) yield* dies(pid)
      yield* fs.remove(`${dataDir}/.valet/run/children`, { recursive: true })
      assert.isTrue(isAlive(child))
      yield* opened(dataDir, () => Effect.void)
      assert.isFalse(isAlive(child))
    }))

  test("has marks whose numbers are others' now: those are left alone, their marks go", (dataDir) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const stranger = yield* spawner.spawn(
        ChildProcess.make("sleep", ["1000"], { killSignal: "SIGKILL", detached: true })
      )
      yield* opened(dataDir, () => Effect.void)
      const folder = `${dataDir}/.valet/run/children`
      const name = (pid: number, start: string) => `${pid}.${Buffer.from(start).toString("base64url")}`
      yield* fs.writeFileString(`${folder}/${name(Number(stranger.pid), "12345@0")}`, "")
      yield* opened(dataDir, () => Effect.void)
      assert.isTrue(yield* stranger.isRunning)
      assert.deepStrictEqual(yield* marksOf(dataDir), [])
    }))

  test("of another folder keeps its servers", (parentFolder) =>
    Effect.gen(function* () {
      const servers = yield* killed(`${parentFolder}/one`, [node(waits)])
      yield* opened(`${parentFolder}/two`, () => Effect.void)
      for (const pid of servers) assert.isTrue(isAlive(pid))
      yield* opened(`${parentFolder}/one`, () => Effect.void)
    }))
})

it.live("a child is noted until it is forgotten", () =>
  Effect.gen(function* () {
    const dataDir = yield* temporary
    const mark = yield* Effect.flatMap(markOf(process.pid), Effect.fromNullishOr)
    yield* opened(dataDir, ({ noteChild, forgetChild }) =>
      Effect.gen(function* () {
        yield* noteChild(mark)
        assert.strictEqual((yield* marksOf(dataDir)).length, 1)
        yield* forgetChild(mark)
        yield* forgetChild(mark)
        assert.deepStrictEqual(yield* marksOf(dataDir), [])
      })
    )
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
