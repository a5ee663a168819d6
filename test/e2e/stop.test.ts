/** How the platform ends: told once, told twice, killed; and what a control plane does with work in flight. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Documents from "../../src/client/Documents.ts"
import type { DevRecord } from "../../src/local/dev/DevRecord.ts"
import { DevRecordJson } from "../../src/local/dev/DevRecord.ts"
import { freePort } from "../../src/process/Ports.ts"
import { eventually } from "../support/eventually.ts"
import { ask, bearer, decodeCreated, instanceEnvironment, processesNaming, run, socketOf, started } from "./Platform.ts"

const services = Layer.mergeAll(NodeServices.layer, NodeHttpClient.layerUndici)

const devBy = (by: "node" | "npm", dataDir: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* fs.remove(`${dataDir}/dev.json`, { force: true })
    const args = ["dev", "--port", "0", "--data-dir", dataDir, "--pool-size", "1", "--margin-scale", "0.02"]
    const running = yield* by === "node" ? started(args) : run(["run", "-s", "valet", "--", ...args], {}, "npm")
    yield* eventually(fs.exists(`${dataDir}/dev.json`))
    const text = yield* fs.readFileString(`${dataDir}/dev.json`)
    return { ...running, record: yield* Schema.decodeEffect(DevRecordJson)(text) }
  })

const dev = (dataDir: string) => devBy("node", dataDir)

const folder = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped({ prefix: "valet-stop-" }))

const newProject = (record: DevRecord) =>
  ask(record.edge, { method: "POST", path: "/api/projects", headers: bearer(record) }).pipe(
    Effect.flatMap(({ body }) => decodeCreated(body))
  )

const nothingLeft = (dataDir: string) => eventually(Effect.map(processesNaming(dataDir), (pids) => pids.length === 0))

describe("valet dev", () => {
  for (const [name, by, signals] of [
    ["SIGINT", "node", ["SIGINT"]],
    ["SIGTERM twice", "node", ["SIGTERM", "SIGTERM"]],
    ["SIGTERM to npm", "npm", ["SIGTERM"]]
  ] as const) {
    it.live(`ends with 0 at ${name}, closes sockets in good order, and leaves no process`, () =>
      Effect.gen(function* () {
        const dataDir = yield* folder
        const { child, ended, record } = yield* devBy(by, dataDir)
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
})

const Status = Schema.fromJsonString(
  Schema.Struct({
    operations: Schema.Struct({ creating: Schema.Int, waking: Schema.Int, archiving: Schema.Int }),
    loops: Schema.Array(Schema.Struct({ name: Schema.String, running: Schema.Boolean }))
  })
)

describe("a control plane", () => {
  it.live("told to stop with requests, a wake and a sweep in flight drains and exits 0 within 10 s", () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const { child, ended, record } = yield* dev(dataDir)
      const secret = record.control_plane_secret
      const asleep = yield* newProject(record)
      const slept = yield* ask(record.edge, {
        method: "POST",
        path: `/api/projects/${asleep.project_id}/sleep`,
        headers: { ...bearer(record), "content-type": "application/json" },
        body: '{"to":"dormant"}'
      })
      assert.strictEqual(slept.status, 200, slept.body)
      // Idle for longer than its threshold of a second by the time that it sweeps.
      yield* newProject(record)
      const port = yield* freePort
      const instance = yield* started(["serve"], {
        ...(yield* instanceEnvironment(record, dataDir)),
        CONTROL_PLANE_PORT: String(port),
        VALET_MACHINE_URL: "http://127.0.0.1:9/{machine_id}",
        DORMANCY_SWEEP_INTERVAL_SECS: "1s",
        DORMANCY_THRESHOLD_DAYS: "1s"
      })
      const base = `http://127.0.0.1:${port}`
      const up = Effect.orElseSucceed(ask(base, { path: "/health/ready" }), () => ({ status: 0 }))
      yield* eventually(Effect.map(up, ({ status }) => status === 200))
      // Its machine URL leads nowhere: what it begins goes on until it stops.
      const headers = { authorization: `Bearer ${secret}` }
      const post = (path: string) => Effect.forkChild(Effect.exit(ask(base, { method: "POST", path, headers })))
      const requests = yield* Effect.all([
        post(`/api/projects/${asleep.project_id}/wake`),
        ...Array.from({ length: 3 }, () => post("/api/projects"))
      ])
      const running = Effect.flatMap(ask(base, { path: "/api/status", headers }), ({ body }) =>
        Schema.decodeEffect(Status)(body)
      )
      yield* eventually(
        Effect.map(
          running,
          ({ operations, loops }) =>
            operations.creating > 0 &&
            operations.waking > 0 &&
            operations.archiving > 0 &&
            loops.some(({ name, running: inFlight }) => name === "sweep" && inFlight)
        )
      )
      const begun = performance.now()
      instance.child.kill("SIGTERM")
      assert.strictEqual(yield* instance.ended, 0)
      assert.isBelow(performance.now() - begun, 10_000)
      yield* Effect.forEach(requests, Fiber.join, { discard: true })
      child.kill("SIGTERM")
      assert.strictEqual(yield* ended, 0)
      yield* nothingLeft(dataDir)
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})
