/** Launches and claims with real processes: the reference server, and others of the machine protocol. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { ensureBundle } from "../../../src/local/Bundle.ts"
import { KeepAwakeUrl } from "../../../src/orchestrator/KeepAwakeUrl.ts"
import { defaults, OrchestratorConfig } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OrchestratorFolder } from "../../../src/orchestrator/OrchestratorFolder.ts"
import type { ProjectPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { Starter } from "../../../src/orchestrator/Starter.ts"
import { WarmServers } from "../../../src/orchestrator/WarmServers.ts"
import { send } from "../../project-server/harness.ts"
import { eventually } from "../../support/eventually.ts"
import { keepAwakeUrl, plan as planOf } from "./support.ts"

const ownServer = fileURLToPath(new URL("fixtures/own-server.mjs", import.meta.url))

const dataFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "valet-starter-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const layerKeepAwake = Layer.effectDiscard(Effect.flatMap(KeepAwakeUrl, ({ set }) => set(keepAwakeUrl))).pipe(
  Layer.provideMerge(KeepAwakeUrl.layer)
)

const layerReal = (dataDir: string, warmServers: number, command: ReadonlyArray<string>, spawnTimeoutMs = 30_000) =>
  Starter.layer.pipe(
    Layer.provideMerge(WarmServers.layer),
    Layer.provideMerge(ServerHost.layer),
    Layer.provideMerge(OrchestratorFolder.layer),
    Layer.provide([layerKeepAwake, SecureRandom.layerWebCrypto]),
    Layer.provideMerge(NodeServices.layer),
    Layer.provide(Layer.succeed(OrchestratorConfig, { ...defaults, dataDir, warmServers, command, spawnTimeoutMs }))
  )

const referenceCommand = Effect.map(ensureBundle, ({ projectServer }) => [process.execPath, projectServer]).pipe(
  Effect.provide(NodeServices.layer)
)

const plan = (dataDir: string, id: string, command: ReadonlyArray<string>, warm: boolean): ProjectPlan => {
  const folder = Path.join(dataDir, id)
  Fs.mkdirSync(folder, { recursive: true })
  const env = { PROJECT_ID: id, DATA_DIR: folder, DATABASE_PATH: `${folder}/project.db` }
  return planOf(id, { folder, command, cwd: folder, env, warm })
}

const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const allReady = (count: number) =>
  Effect.flatMap(WarmServers, ({ ready }) => eventually(Effect.map(ready, (now) => now === count)))

/** Started, used and stopped; `took` is the time of the start in milliseconds. */
const during = <A, E, R>(of: ProjectPlan, use: (port: number, pid: number) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const from = yield* Clock.currentTimeMillis
    const started = yield* Effect.flatMap(Starter, ({ start }) => start(of, {})).pipe(Scope.provide(scope))
    const took = (yield* Clock.currentTimeMillis) - from
    const { pid, port } = started.process
    const result = yield* use(port, pid).pipe(
      Effect.ensuring(Effect.andThen(started.process.stop(10_000), Scope.close(scope, Exit.void)))
    )
    assert.isFalse(isRunning(pid))
    return { result, took, warm: started.warm, hasHealthPath: started.hasHealthPath }
  })

const put = (port: number, key: string) =>
  Effect.map(send(port, "PUT", `/documents/${key}`, { body: `"${key}"` }), ({ status }) =>
    assert.strictEqual(status, 201)
  )
const Keys = Schema.Struct({ keys: Schema.Array(Schema.Struct({ key: Schema.String })) })
const keys = (port: number, host = "demo.localhost:7000") =>
  send(port, "GET", "/documents", { headers: { host } }).pipe(
    Effect.flatMap(({ json }) => Schema.decodeUnknownEffect(Keys)(json)),
    Effect.map(({ keys }) => keys.map(({ key }) => key))
  )

describe("the reference server", { timeout: 120_000 }, () => {
  it.live("serves a project's data, whether it was launched for it or claimed, in any order", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const command = yield* referenceCommand
      const of = (warm: boolean) => plan(dataDir, "demo", command, warm)
      yield* Effect.gen(function* () {
        const times: Array<string> = []
        for (const [round, warm] of [false, true, true, false, true].entries()) {
          yield* allReady(1)
          const { result, ...start } = yield* during(of(warm), (port) =>
            Effect.andThen(put(port, `k${round}`), keys(port))
          )
          assert.deepStrictEqual(
            result,
            [0, 1, 2, 3, 4].slice(0, round + 1).map((it) => `k${it}`)
          )
          assert.strictEqual(start.warm, warm)
          assert.isTrue(start.hasHealthPath)
          times.push(`${warm ? "claimed" : "launched"} ${start.took} ms`)
        }
        yield* Effect.logInfo(`ready: ${times.join(", ")}`)
      }).pipe(Effect.provide(layerReal(dataDir, 1, command)))
      assert.deepStrictEqual(Fs.readdirSync(`${dataDir}/demo`), ["project.db"])
      assert.isEmpty(Fs.readdirSync(`${dataDir}/.valet/warm`))
    })
  )

  it.live("claimed for a new project has a database there, and answers whatever Host it is asked for", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const command = yield* referenceCommand
      yield* Effect.gen(function* () {
        yield* allReady(1)
        const { result, warm } = yield* during(plan(dataDir, "demo", command, true), (port) =>
          Effect.andThen(put(port, "first"), keys(port, "shop.example.com"))
        )
        assert.isTrue(warm)
        assert.deepStrictEqual(result, ["first"])
      }).pipe(Effect.provide(layerReal(dataDir, 1, command)))
    })
  )

  it.live("serves a copy of a folder that a claimed server wrote, under the copy's name", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const command = yield* referenceCommand
      yield* Effect.gen(function* () {
        yield* allReady(1)
        yield* during(plan(dataDir, "demo", command, true), (port) => put(port, "first"))
        Fs.cpSync(`${dataDir}/demo`, `${dataDir}/copy`, { recursive: true })
        for (const warm of [false, true]) {
          yield* allReady(1)
          const copied = yield* during(plan(dataDir, "copy", command, warm), (port) => keys(port))
          assert.strictEqual(copied.warm, warm)
          assert.deepStrictEqual(copied.result, ["first"])
        }
      }).pipe(Effect.provide(layerReal(dataDir, 1, command)))
    })
  )

  it.live("is launched on a folder that was a machine's volume, and serves nothing of it while that is sealed", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const command = yield* referenceCommand
      const of = plan(dataDir, "demo", command, true)
      yield* Effect.gen(function* () {
        yield* allReady(1)
        const state = {
          project: "demo",
          uid: "u",
          deploy_key: "k",
          newest_generation: 7,
          last_unseal_generation: 6,
          sealed_generation: 7,
          sealed: true,
          ready: true,
          restored_bytes: 0,
          idle_timeout_seconds: null,
          router_app: null
        }
        Fs.writeFileSync(`${of.folder}/valet-state.json`, JSON.stringify(state))
        const { result, warm } = yield* during(of, (port) => send(port, "GET", "/documents"))
        assert.isFalse(warm)
        assert.strictEqual(result.status, 503)
        assert.isFalse(Fs.existsSync(`${of.folder}/project.db`))
      }).pipe(Effect.provide(layerReal(dataDir, 1, command)))
    })
  )

  it.live("that can't open the database ends, and its last lines say why", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const command = yield* referenceCommand
      const of = plan(dataDir, "demo", command, true)
      Fs.writeFileSync(`${of.folder}/project.db`, "this is no database".repeat(100))
      yield* Effect.gen(function* () {
        yield* allReady(1)
        const { start } = yield* Starter
        const failure = yield* Effect.flip(Effect.scoped(start(of, {})))
        assert.strictEqual(failure.reason, "exited")
        assert.include(failure.output.join("\n"), "not a database")
        assert.include(Fs.readFileSync(`${of.folder}/project.db`, "utf8"), "this is no database")
      }).pipe(Effect.provide(layerReal(dataDir, 1, command)))
    })
  )
})

describe("another server of the protocol", { timeout: 120_000 }, () => {
  const start = Effect.fnUntraced(function* (manners: "good" | "early" | "resolved") {
    const dataDir = yield* dataFolder
    const own = ["/usr/bin/env", `MANNERS=${manners}`, process.execPath, ownServer]
    const of = plan(dataDir, "demo", own, true)
    const { warm } = yield* Effect.gen(function* () {
      yield* allReady(1)
      return yield* during(of, () => Effect.void)
    }).pipe(Effect.provide(layerReal(dataDir, 1, own)))
    const written = `${of.folder}/uploads.txt`
    return { warm, written: Fs.existsSync(written) ? Fs.readFileSync(written, "utf8") : null }
  })

  it.live("has what it writes to DATA_DIR in the project's folder", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* start("good"), { warm: true, written: "configured\n" })
    })
  )

  it.live("that writes to DATA_DIR before it is told its project is launched instead", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* start("early"), { warm: false, written: "early\n" })
    })
  )

  it.live("that resolved DATA_DIR before it was told its project can't write where nobody looks", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* start("resolved"), { warm: false, written: null })
    })
  )
})

describe("a server that never listens and ignores SIGTERM", { timeout: 120_000 }, () => {
  it.live("is gone when its start has failed", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const script = "trap '' TERM; echo pid $$; while :; do sleep 1; done"
      const command = ["/bin/sh", "-c", script]
      const failure = yield* Effect.gen(function* () {
        const { start } = yield* Starter
        return yield* Effect.flip(Effect.scoped(start(plan(dataDir, "demo", command, false), {})))
      }).pipe(Effect.provide(layerReal(dataDir, 0, command, 4_000)))
      assert.strictEqual(failure.reason, "timeout")
      const pid = /pid (\d+)/.exec(failure.output.join("\n"))?.[1]
      assert.isDefined(pid)
      assert.isFalse(isRunning(Number(pid)))
    })
  )
})

describe("folders of warm servers", { timeout: 120_000 }, () => {
  it.live("that a killed orchestrator left are removed, and nothing of the project that one pointed to", () =>
    Effect.gen(function* () {
      const dataDir = yield* dataFolder
      const project = `${dataDir}/demo`
      const left = `${dataDir}/.valet/warm/1-abcdefgh`
      Fs.mkdirSync(`${project}/uploads`, { recursive: true })
      Fs.writeFileSync(`${project}/uploads/a.txt`, "kept")
      Fs.mkdirSync(`${left}/state`, { recursive: true })
      Fs.chmodSync(`${dataDir}/.valet`, 0o700)
      Fs.writeFileSync(`${left}/state/valet-state.json`, "{}")
      Fs.symlinkSync(project, `${left}/data`)
      Fs.symlinkSync(project, `${dataDir}/.valet/warm/link`)
      yield* Effect.void.pipe(Effect.provide(layerReal(dataDir, 0, ["none"])))
      assert.isFalse(Fs.existsSync(left))
      assert.isFalse(Fs.existsSync(`${dataDir}/.valet/warm/link`))
      assert.strictEqual(Fs.readFileSync(`${project}/uploads/a.txt`, "utf8"), "kept")
    })
  )
})
