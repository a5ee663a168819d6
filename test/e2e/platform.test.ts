/** The whole platform as processes: two control planes, PostgreSQL, S3, local Fly, edge. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Documents from "../../src/client/Documents.ts"
import { DevRecordJson } from "../../src/local/dev/DevRecord.ts"
import { freePort } from "../../src/process/Ports.ts"
import { valet } from "../cli/support.ts"
import { eventually } from "../support/eventually.ts"
import {
  ask,
  bearer,
  create,
  decodeCreated,
  example,
  instanceEnvironment,
  Platform,
  residentMb,
  run,
  socketOf,
  started
} from "./Platform.ts"

const flags = ["--instances", "2", "--idle-timeout", "300s", "--pool-size", "2", "--margin-scale", "0.02"]

const sleepTo = (id: string, to: "dormant" | "suspended") =>
  Effect.gen(function* () {
    const { dev } = yield* Platform
    const answer = yield* ask(dev.edge, {
      method: "POST",
      path: `/api/projects/${id}/sleep`,
      headers: { ...bearer(dev), "content-type": "application/json" },
      body: JSON.stringify({ to })
    })
    assert.strictEqual(answer.status, 200, answer.body)
  })

const generationOf = (id: string) =>
  Effect.gen(function* () {
    const { dev } = yield* Platform
    const answer = yield* ask(dev.edge, { path: `/api/projects/${id}` })
    return yield* Schema.decodeEffect(Schema.fromJsonString(Schema.Struct({ generation: Schema.Int })))(answer.body)
  })

layer(Platform.layer(flags), { excludeTestServices: true, timeout: "90 seconds" })("the platform", (it) => {
  it.effect("keeps an idle control plane under 150 MB", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      for (const { pid } of dev.control_planes) assert.isBelow(yield* residentMb(pid), 150)
    })
  )

  it.effect("limits creates without a bearer to three a minute, over both instances, and none with one", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const statuses: Array<number> = []
      for (let attempt = 0; attempt < 5; attempt++) {
        const answer = yield* ask(dev.edge, { method: "POST", path: "/api/projects" })
        statuses.push(answer.status)
        if (answer.status === 429) {
          const wait = Number(answer.headers["retry-after"])
          assert.isTrue(wait > 30 && wait <= 60, `Retry-After: ${wait}`)
        }
      }
      assert.deepStrictEqual(statuses, [201, 201, 201, 429, 429])
      const project = yield* create
      assert.match(project.project_id, /^[a-z]+-[a-z]+-[0-9a-z]{7}$/)
    })
  )

  it.effect("answers a project by host and by path, over HTTP and WebSocket", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id, url } = yield* create
      const port = new URL(dev.edge).port
      assert.strictEqual(new URL(url).host, `${id}.localhost:${port}`)
      const put = yield* ask(dev.edge, {
        method: "PUT",
        path: "/documents/a",
        host: `${id}.localhost:${port}`,
        headers: { "content-type": "application/json" },
        body: '{"x":1}'
      })
      assert.strictEqual(put.status, 201, put.body)
      const read = yield* ask(dev.edge, { path: `/projects/${id}/documents/a` })
      assert.deepStrictEqual([read.status, read.body], [200, '{"x":1}'])
      const documents = yield* Documents.connect(socketOf(dev, id))
      assert.deepStrictEqual((yield* documents.get("a")).value, { x: 1 })
      assert.isTrue((yield* documents.put("b", [1, 2])) > 0)
    }).pipe(Effect.scoped)
  )

  it.effect("wakes a dormant project once for 50 requests at the same time, with its data", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id } = yield* create
      yield* ask(dev.edge, { method: "PUT", path: `/projects/${id}/documents/k`, body: '"kept"' })
      yield* sleepTo(id, "dormant")
      const before = yield* generationOf(id)
      const head = yield* ask(dev.edge, { method: "HEAD", path: `/projects/${id}/` })
      assert.deepStrictEqual([head.status, head.headers["x-valet-state"]], [204, "dormant"])
      const icon = yield* ask(dev.edge, { path: `/projects/${id}/favicon.ico` })
      assert.strictEqual(icon.status, 404)
      const probe = yield* ask(dev.edge, { path: `/projects/${id}/`, headers: { "user-agent": "UptimeRobot/2.0" } })
      assert.deepStrictEqual([probe.status, probe.headers["x-valet-state"]], [503, "dormant"])
      assert.deepStrictEqual(yield* generationOf(id), before, "none of these woke it")

      const answers = yield* Effect.forEach(
        Array.from({ length: 50 }),
        () => ask(dev.edge, { path: `/projects/${id}/documents/k` }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(new Set(answers.map(({ status, body }) => `${status} ${body}`)), new Set(['200 "kept"']))
      assert.strictEqual((yield* generationOf(id)).generation, before.generation + 1)
    })
  )

  it.effect("resumes a suspended machine for the request that comes", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id } = yield* create
      yield* ask(dev.edge, { method: "PUT", path: `/projects/${id}/documents/k`, body: "1" })
      yield* sleepTo(id, "suspended")
      const answer = yield* ask(dev.edge, { path: `/projects/${id}/documents/k` })
      assert.deepStrictEqual([answer.status, answer.body], [200, "1"])
    })
  )

  it.effect("brings a project back whose machine was destroyed behind its back, on the same volume", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id, machine_id: machine } = yield* create
      yield* ask(dev.edge, { method: "PUT", path: `/projects/${id}/documents/k`, body: '"kept"' })
      const destroyed = yield* ask(dev.fly_api, {
        method: "DELETE",
        path: `/v1/apps/${dev.fly_app}/machines/${machine}?force=true`,
        headers: { authorization: `Bearer ${dev.fly_token}` }
      })
      assert.strictEqual(destroyed.status, 200)
      yield* eventually(
        Effect.map(
          ask(dev.edge, { path: `/projects/${id}/documents/k` }),
          ({ status, body }) => status === 200 && body === '"kept"'
        )
      )
      const route = yield* ask(dev.edge, { path: `/api/route/${id}` })
      assert.notInclude(route.body, String(machine))
    })
  )

  it.effect("hides the internal paths of machines, and answers no nonsense Host with a 5xx", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id } = yield* create
      for (const path of [`/projects/${id}/internal/configure`, "/internal/x", `/projects/${id}/%69nternal/unseal`]) {
        assert.strictEqual((yield* ask(dev.edge, { method: "POST", path })).status, 404, path)
      }
      const hosts = ["a.b.localhost", "[::1]", "LOCALHOST.", "x".repeat(10_000), `${id.toUpperCase()}.LOCALHOST.`, "🙂"]
      for (const host of hosts) {
        const answer = yield* Effect.result(ask(dev.edge, { path: "/health", host: encodeURI(host) }))
        const status = answer._tag === "Success" ? answer.success.status : 400
        assert.isBelow(status, 500, host)
      }
    })
  )

  it.effect("is found in order by valet doctor", () =>
    Effect.gen(function* () {
      const { dev, dataDir } = yield* Platform
      const { code, stdout, stderr } = yield* valet(["doctor", "--json"], yield* instanceEnvironment(dev, dataDir))
      assert.strictEqual(code, 0, stdout + stderr)
      const { findings }: { findings: ReadonlyArray<{ check: string; outcome: string }> } = JSON.parse(stdout)
      for (const check of ["database", "database (direct)", "migrations", "Fly", "clock", "R2"]) {
        assert.strictEqual(findings.find((finding) => finding.check === check)?.outcome, "ok", check)
      }
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("has its data folder for itself: another valet dev on it is refused", () =>
    Effect.gen(function* () {
      const { dev, dataDir } = yield* Platform
      const { ended } = yield* started(["dev", "--port", "0", "--data-dir", dataDir])
      assert.strictEqual(yield* ended, 1)
      assert.strictEqual((yield* ask(dev.edge, { path: "/health/ready" })).status, 200)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("carries the example on live systems, which serves its own route and the plane's under one listener", () =>
    Effect.gen(function* () {
      const { dev, dataDir } = yield* Platform
      const port = yield* freePort
      const base = `http://127.0.0.1:${port}`
      const { child, ended } = yield* run(example("embed-live.ts"), {
        ...(yield* instanceEnvironment(dev, dataDir)),
        PORT: String(port)
      })
      const up = Effect.orElseSucceed(ask(base, { path: "/health/ready" }), () => ({ status: 0 }))
      yield* eventually(Effect.map(up, ({ status }) => status === 200))
      assert.strictEqual((yield* ask(base, { path: "/mine" })).body, "this one is mine")
      const list = yield* ask(base, { path: "/api/projects", headers: bearer(dev) })
      assert.strictEqual(list.status, 200)
      child.kill("SIGTERM")
      yield* ended
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("goes on when a control plane is killed, which is back a second later", () =>
    Effect.gen(function* () {
      const { dev, dataDir } = yield* Platform
      const fs = yield* FileSystem.FileSystem
      const { project_id: id } = yield* create
      const record = Effect.flatMap(fs.readFileString(`${dataDir}/dev.json`), Schema.decodeUnknownEffect(DevRecordJson))
      const [first] = (yield* record).control_planes
      process.kill(first?.pid ?? 0, "SIGKILL")
      const answer = yield* ask(dev.edge, { path: `/projects/${id}/health` })
      assert.strictEqual(answer.status, 200)
      yield* eventually(
        Effect.map(
          record,
          ({ control_planes: planes }) => planes.length === 2 && planes.every(({ pid }) => pid !== first?.pid)
        )
      )
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("deletes for good: the id answers 404 and is not to be had again", () =>
    Effect.gen(function* () {
      const { dev } = yield* Platform
      const { project_id: id, deploy_key: key } = yield* create
      const owner = { authorization: `Bearer ${key}` }
      assert.strictEqual(
        (yield* ask(dev.edge, { method: "DELETE", path: `/api/projects/${id}`, headers: owner })).status,
        204
      )
      assert.strictEqual((yield* ask(dev.edge, { path: `/api/projects/${id}` })).status, 404)
      assert.strictEqual((yield* ask(dev.edge, { path: `/projects/${id}/` })).status, 404)
      const again = yield* ask(dev.edge, {
        method: "POST",
        path: "/api/projects",
        headers: { ...bearer(dev), "content-type": "application/json" },
        body: JSON.stringify({ project_id: id })
      })
      assert.strictEqual(again.status, 409)
      yield* Effect.flip(decodeCreated(again.body))
    })
  )
})
