/** How the platform ends: told once, told twice, killed; and what a control plane does with work in flight. */
import { spawn } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Documents from "../../src/client/Documents.ts"
import { ensureBundle } from "../../src/local/Bundle.ts"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"
import { DevRecordJson } from "../../src/local/dev/DevRecord.ts"
import { eventually } from "../support/eventually.ts"
import { ask, bearer, decodeCreated, processesNaming, socketOf } from "./Platform.ts"

const services = Layer.mergeAll(NodeServices.layer, NodeHttpClient.layerUndici)

/** Ended with the scope however the test ends. */
const started = (args: ReadonlyArray<string>, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const { valet } = yield* ensureBundle
    const ended = yield* Deferred.make<number | string>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [valet, ...args], {
          stdio: ["ignore", "ignore", "inherit"],
          env: { ...inherited(), ...environment }
        })
      ),
      (running) => Effect.sync(() => running.exitCode === null && running.kill("SIGKILL"))
    )
    child.once("exit", (code, signal) => Deferred.doneUnsafe(ended, Effect.succeed(code ?? signal ?? "")))
    return { child, ended: Deferred.await(ended).pipe(Effect.timeout("30 seconds")) }
  })

const inherited = () => ({ PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" })

const dev = (dataDir: string, ...flags: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* fs.remove(`${dataDir}/dev.json`, { force: true })
    const args = ["dev", "--port", "0", "--data-dir", dataDir, "--pool-size", "1", "--margin-scale", "0.02", ...flags]
    const running = yield* started(args)
    yield* eventually(fs.exists(`${dataDir}/dev.json`))
    const text = yield* fs.readFileString(`${dataDir}/dev.json`)
    return { ...running, record: yield* Schema.decodeEffect(DevRecordJson)(text) }
  })

const folder = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped({ prefix: "valet-stop-" }))

const newProject = (record: DevRecord) =>
  ask(record.edge, { method: "POST", path: "/api/projects", headers: bearer(record) }).pipe(
    Effect.flatMap(({ body }) => decodeCreated(body))
  )

const nothingLeft = (dataDir: string) => eventually(Effect.map(processesNaming(dataDir), (pids) => pids.length === 0))

describe("valet dev", () => {
  for (const [name, signals] of [
    ["SIGINT", ["SIGINT"]],
    ["SIGTERM twice", ["SIGTERM", "SIGTERM"]]
  ] as const) {
    it.live(`ends with 0 at ${name}, closes sockets in good order, and leaves no process`, () =>
      Effect.gen(function* () {
        const dataDir = yield* folder
        const { child, ended, record } = yield* dev(dataDir)
        const { project_id: id } = yield* newProject(record)
        const documents = yield* Documents.connect(socketOf(record, id))
        yield* documents.put("k", 1)
        for (const signal of signals) child.kill(signal)
        assert.strictEqual(yield* ended, 0)
        assert.notStrictEqual(yield* documents.closed, 1000)
        yield* nothingLeft(dataDir)
      }).pipe(Effect.scoped, Effect.provide(services))
    )
  }

  it.live("killed: its successor ends what it left, and every acknowledged write is there", () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const first = yield* dev(dataDir)
      const { project_id: id } = yield* newProject(first.record)
      const put = yield* ask(first.record.edge, { method: "PUT", path: `/projects/${id}/documents/k`, body: '"kept"' })
      assert.strictEqual(put.status, 201)
      first.child.kill("SIGKILL")
      yield* first.ended
      const left = yield* processesNaming(dataDir)
      assert.isAbove(left.length, 0, "a kill leaves processes behind")

      const second = yield* dev(dataDir)
      const still = yield* processesNaming(dataDir)
      assert.deepStrictEqual(
        left.filter((pid) => still.includes(pid)),
        [],
        "none of the old ones runs on"
      )
      yield* eventually(
        Effect.map(
          ask(second.record.edge, { path: `/projects/${id}/documents/k` }),
          ({ status, body }) => status === 200 && body === '"kept"'
        )
      )
      second.child.kill("SIGTERM")
      assert.strictEqual(yield* second.ended, 0)
      yield* nothingLeft(dataDir)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("refuses a data folder that another one uses", () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const { child, ended } = yield* dev(dataDir)
      const second = yield* started(["dev", "--port", "0", "--data-dir", dataDir])
      assert.strictEqual(yield* second.ended, 1)
      child.kill("SIGTERM")
      yield* ended
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})

describe("a control plane", () => {
  it.live("told to stop with requests, a wake and a sweep in flight drains and exits 0 within 10 s", () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const { child, ended, record } = yield* dev(dataDir)
      const secret = record.control_plane_secret
      const internal = yield* Effect.flatMap(FileSystem.FileSystem, (fs) =>
        fs.readFileString(`${dataDir}/secrets.json`)
      )
      const secrets = yield* Schema.decodeEffect(Schema.fromJsonString(Schema.Struct({ internal: Schema.String })))(
        internal
      )
      const port = 20_000 + (process.pid % 20_000)
      const instance = yield* started(["serve"], {
        CONTROL_PLANE_PORT: String(port),
        CONTROL_PLANE_HOST: "127.0.0.1",
        CONTROL_PLANE_SECRET: secret,
        CONTROL_PLANE_INTERNAL_SECRET: secrets.internal,
        DATABASE_URL: record.database_url,
        VALET_FLY_API_URL: record.fly_api,
        VALET_FLY_TOKEN: record.fly_token,
        VALET_FLY_APP: record.fly_app,
        VALET_FLY_REGION: "sjc",
        VALET_FLY_IMAGE: "valet/project-server:local",
        VALET_MACHINE_URL: "http://127.0.0.1:9/{machine_id}",
        R2_ENDPOINT: record.s3.endpoint,
        R2_ACCESS_KEY_ID: record.s3.access_key_id,
        R2_SECRET_ACCESS_KEY: record.s3.secret_access_key,
        DORMANCY_SWEEP_INTERVAL_SECS: "1s",
        DORMANCY_THRESHOLD_DAYS: "1s"
      })
      const base = `http://127.0.0.1:${port}`
      const up = Effect.orElseSucceed(ask(base, { path: "/health/ready" }), () => ({ status: 0 }))
      yield* eventually(Effect.map(up, ({ status }) => status === 200))
      // Its machine URL leads nowhere: creates and wakes are in flight until it stops; so are the sweep's archives.
      yield* newProject(record)
      const creates = yield* Effect.forEach(Array.from({ length: 5 }), () =>
        Effect.forkChild(
          Effect.exit(
            ask(base, { method: "POST", path: "/api/projects", headers: { authorization: `Bearer ${secret}` } })
          )
        )
      )
      yield* eventually(
        Effect.map(ask(base, { path: "/api/status", headers: { authorization: `Bearer ${secret}` } }), ({ body }) =>
          body.includes('"creating"')
        )
      )
      const begun = performance.now()
      instance.child.kill("SIGTERM")
      assert.strictEqual(yield* instance.ended, 0)
      assert.isBelow(performance.now() - begun, 10_000)
      yield* Effect.forEach(creates, Fiber.join, { discard: true })
      child.kill("SIGTERM")
      assert.strictEqual(yield* ended, 0)
      yield* nothingLeft(dataDir)
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})
