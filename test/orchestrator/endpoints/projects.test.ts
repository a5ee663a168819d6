import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { ProjectList, ProjectSettings, ProjectView } from "../../../src/contract/OrchestratorApi.ts"
import { NoPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { Unavailable } from "../../../src/orchestrator/Supervisor.ts"
import { sendRaw } from "../../http/support.ts"
import { eventually } from "../../support/eventually.ts"
import { adminToken, bearer, codeOf, id, problemOf, serve, server } from "./support.ts"

const decode = <A>(schema: Schema.Codec<A, unknown>) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(schema), { onExcessProperty: "error" })
const decodeList = decode(ProjectList)
const decodeView = decode(ProjectView)
const decodeSettings = decode(ProjectSettings)

const idle = JSON.stringify({ idle_timeout: 30 })
const acts = ["keep-alive", "wake", "sleep", "restart"]

describe("the API for projects", () => {
  it.live("lists all folders and servers by name, with their state", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.folders = [id("melon"), id("apple")]
      world.servers = [server("melon"), server("zebra", { state: "failed" })]
      const reply = yield* call("/api/projects", { headers: bearer })
      assert.strictEqual(reply.status, 200)
      assert.deepStrictEqual(
        decodeList(reply.text).projects.map(({ project_id, state }) => `${project_id} ${state}`),
        ["apple stopped", "melon running", "zebra failed"]
      )
    })
  )

  it.live("asks even local callers for the token, and does nothing without", () =>
    Effect.gen(function* () {
      const { world, call, post } = yield* serve
      world.servers = [server("apple")]
      for (const authorization of ["", "Bearer wrong", `Bearer ${adminToken}x`, `Bearer ${adminToken.slice(1)}`]) {
        assert.strictEqual((yield* call("/api/projects", { headers: { authorization } })).status, 401)
        for (const act of acts) {
          assert.strictEqual((yield* post(`/api/projects/apple/${act}`, undefined, { authorization })).status, 401)
        }
        assert.strictEqual((yield* post("/api/projects/apple", idle, { authorization }, "PATCH")).status, 401)
      }
      assert.strictEqual((yield* call("/api/projects")).status, 401)
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("an idle time is written, then counts for the running server", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      const set = yield* post("/api/projects/apple", idle, {}, "PATCH")
      assert.strictEqual(set.status, 200)
      assert.deepStrictEqual(decodeSettings(set.text), { project_id: id("apple"), idle_timeout: 30 })
      assert.strictEqual((yield* post("/api/projects/apple", `{"idle_timeout":0}`, {}, "PATCH")).status, 200)
      const removed = yield* post("/api/projects/apple", `{"idle_timeout":null}`, {}, "PATCH")
      assert.isNull(decodeSettings(removed.text).idle_timeout)
      assert.deepStrictEqual(world.calls, [
        "setIdleTimeout apple 30000",
        "reload apple",
        "setIdleTimeout apple 0",
        "reload apple",
        "setIdleTimeout apple null",
        "reload apple"
      ])
    })
  )

  it.live("refuses changes that say nothing, too much or nonsense", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      for (const body of [
        "",
        "{",
        "null",
        "[]",
        "{}",
        `{"idle_timeout":-1}`,
        `{"idle_timeout":1.5}`,
        `{"idle_timeout":"30"}`,
        `{"idle_timeout":1e9}`,
        `{"idle_timeout":30,"command":["rm"]}`,
        `{"idle_timeout":30,"__proto__":{}}`,
        `{"idle_timeout":30}{}`
      ]) {
        const reply = yield* post("/api/projects/apple", body, { "content-type": "application/json" }, "PATCH")
        assert.strictEqual(reply.status, 400, body)
        assert.strictEqual(codeOf(reply), problemOf("invalid_request"))
      }
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]) {
        const reply = yield* post("/api/projects/apple", idle, { "content-type": type }, "PATCH")
        assert.strictEqual(reply.status, 415, type)
        assert.strictEqual(codeOf(reply), problemOf("unsupported_media_type"))
      }
      assert.deepStrictEqual(world.calls, [])
      const typed = { "content-type": "application/json; charset=utf-8" }
      assert.strictEqual((yield* post("/api/projects/apple", idle, typed, "PATCH")).status, 200)
    })
  )

  it.live("bodies beyond 16 KiB are refused, with and without a length", () =>
    Effect.gen(function* () {
      const { world, call, post } = yield* serve
      const type = { ...bearer, "content-type": "application/json" }
      const huge = JSON.stringify({ idle_timeout: 30 }) + " ".repeat(17 * 1024)
      const declared = yield* post("/api/projects/apple", huge, { "content-length": String(huge.length) }, "PATCH")
      assert.strictEqual(declared.status, 413)
      assert.strictEqual(codeOf(declared), problemOf("payload_too_large"))
      // Also where nobody would read it.
      assert.strictEqual((yield* post("/api/projects/apple/wake", huge)).status, 413)
      const chunked = yield* call("/api/projects/apple", { method: "PATCH", headers: type, body: [huge] })
      assert.strictEqual(chunked.status, 413)
      const just = JSON.stringify({ idle_timeout: 30 }).padEnd(16 * 1024)
      assert.strictEqual((yield* post("/api/projects/apple", just, {}, "PATCH")).status, 200)
      assert.deepStrictEqual(world.calls, ["setIdleTimeout apple 30000", "reload apple"])
    })
  )

  it.live("a body that its client holds back is asked for only where it is wanted", () =>
    Effect.gen(function* () {
      const { world, port } = yield* serve
      const head = (authorization: string) =>
        "PATCH /api/projects/apple HTTP/1.1\nHost: localhost\nConnection: close\nExpect: 100-continue\n" +
        `Authorization: Bearer ${authorization}\nContent-Type: application/json\nContent-Length: ${idle.length}\n\n`
      const refused = yield* sendRaw(port, head("wrong"))
      assert.match(refused, /^HTTP\/1\.1 401 /)
      const taken = yield* sendRaw(port, head(adminToken) + idle)
      assert.match(taken, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
      assert.deepStrictEqual(world.calls, ["setIdleTimeout apple 30000", "reload apple"])
    })
  )

  it.live("what the folder refuses is told: 404 where it is not served, 500 where its settings are broken", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      world.noPlan = new NoPlan({ reason: "forbidden", detail: "not allowed by --allow" })
      const hidden = yield* post("/api/projects/apple", idle, {}, "PATCH")
      assert.strictEqual(hidden.status, 404)
      assert.strictEqual(codeOf(hidden), problemOf("project_not_found"))
      assert.notInclude(hidden.text, "allow")
      world.noPlan = new NoPlan({ reason: "invalid", detail: "valet.json is no JSON" })
      const broken = yield* post("/api/projects/apple", idle, {}, "PATCH")
      assert.strictEqual(broken.status, 500)
      assert.strictEqual(codeOf(broken), problemOf("invalid_project"))
      assert.include(broken.text, "valet.json is no JSON")
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("keep-alive, sleep and restart reach the server, or tell that none runs", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      world.servers = [server("apple")]
      for (const act of ["keep-alive", "sleep", "restart"]) {
        const reply = yield* post(`/api/projects/apple/${act}`)
        assert.strictEqual(reply.status, 204)
        assert.strictEqual(reply.text, "")
        const nobody = yield* post(`/api/projects/melon/${act}`)
        assert.strictEqual(nobody.status, 404)
        assert.strictEqual(codeOf(nobody), problemOf("not_running"))
      }
      assert.deepStrictEqual(world.calls, [
        "ping apple",
        "ping melon",
        "stop apple",
        "stop melon",
        "restart apple",
        "restart melon"
      ])
    })
  )

  it.live("wake starts it without holding it, and counts for no client", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      const reply = yield* post("/api/projects/apple/wake")
      assert.strictEqual(reply.status, 200)
      const view = decodeView(reply.text)
      assert.strictEqual(view.project_id, id("apple"))
      assert.strictEqual(view.state, "running")
      assert.deepStrictEqual(world.calls, ["use apple request null"])
      assert.strictEqual(world.used, 0)
    })
  )

  it.live("a client that leaves while its wake runs ends its part in it", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      world.beforeUse = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void world.calls.push("interrupted")))
      const waiting = yield* Effect.forkChild(post("/api/projects/apple/wake"))
      yield* eventually(Effect.sync(() => world.calls.length === 1))
      yield* Fiber.interrupt(waiting)
      yield* eventually(Effect.sync(() => world.calls.includes("interrupted")))
      world.beforeUse = Effect.void
      assert.strictEqual((yield* post("/api/projects/apple/wake")).status, 200)
    })
  )

  it.live("why it can't be woken has a status, a code, a time to come back and the last output", () =>
    Effect.gen(function* () {
      const { world, post } = yield* serve
      const cases = [
        { reason: "forbidden", status: 404, code: "project_not_found", retry: undefined },
        { reason: "invalid", status: 500, code: "invalid_project", retry: undefined },
        { reason: "rate_limited", status: 429, code: "rate_limited", retry: "7" },
        { reason: "full", status: 503, code: "no_capacity", retry: "7" },
        { reason: "failed", status: 503, code: "start_failed", retry: "7" },
        { reason: "draining", status: 503, code: "shutting_down", retry: "7" }
      ] as const
      for (const { reason, status, code, retry } of cases) {
        world.unavailable = new Unavailable({ reason, detail: "why", retryAfterSeconds: 7, output: ["last words"] })
        const reply = yield* post("/api/projects/apple/wake")
        assert.strictEqual(reply.status, status)
        assert.strictEqual(codeOf(reply), problemOf(code))
        assert.strictEqual(reply.headers["retry-after"], retry)
        if (reason !== "forbidden") assert.deepStrictEqual(JSON.parse(reply.text).output, ["last words"])
      }
    })
  )
})

describe("hostile requests", () => {
  it.live("ids that are no project ids are 404 and reach nothing", () =>
    Effect.gen(function* () {
      const { world, call, post } = yield* serve
      const ids = [
        "..",
        "%2e%2e",
        ".%2E",
        "..%2f..%2fetc",
        "%2e%2e%2f.valet",
        "%252e%252e",
        ".valet",
        "a%00b",
        "%00",
        "a%0ab",
        "a%5cb",
        "Apple",
        "apple%20",
        "-apple",
        "%ff",
        "%",
        "%zz",
        "%C3%A4",
        "localhost",
        "a".repeat(64),
        "a".repeat(5000)
      ]
      for (const hostile of ids) {
        const log = yield* call(`/api/projects/${hostile}/logs`, { headers: bearer })
        assert.strictEqual(log.status, 404, hostile)
        for (const act of acts) {
          assert.strictEqual((yield* post(`/api/projects/${hostile}/${act}`)).status, 404, hostile)
        }
        assert.strictEqual((yield* post(`/api/projects/${hostile}`, idle, {}, "PATCH")).status, 404, hostile)
      }
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.live("paths of nothing are 404, in whatever form", () =>
    Effect.gen(function* () {
      const { call, port } = yield* serve
      for (const path of [
        "/nothing",
        "/api",
        "/api/projects/apple/other",
        "/internal",
        "/internal/",
        "/internal/configure",
        "/status/../internal/keep-awake/x",
        "/%2e%2e/status",
        "*"
      ]) {
        const reply = yield* call(path, { headers: bearer })
        assert.strictEqual(reply.status, 404, path)
        assert.strictEqual(codeOf(reply), problemOf("not_found"))
      }
      const absolute = yield* sendRaw(port, "GET http://x:0:0/ HTTP/1.1\nHost: x\nConnection: close\n\n")
      assert.match(absolute, /^HTTP\/1\.1 404 /)
    })
  )

  it.live("other methods are told which ones there are", () =>
    Effect.gen(function* () {
      const { call } = yield* serve
      const allowed = [
        ["/", "GET, HEAD"],
        ["/health", "GET, HEAD"],
        ["/status", "GET, HEAD"],
        ["/metrics", "GET, HEAD"],
        ["/api/projects", "GET, HEAD"],
        ["/api/projects/apple", "PATCH"],
        ["/api/projects/apple/logs", "GET, HEAD"],
        ["/api/projects/apple/wake", "POST"],
        ["/ask", "GET, HEAD"],
        ["/internal/keep-awake", "POST"]
      ] as const
      for (const [path, allow] of allowed) {
        for (const method of ["PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]) {
          const reply = yield* call(path, { method, headers: bearer })
          assert.strictEqual(reply.status, 405, `${method} ${path}`)
          assert.strictEqual(reply.headers["allow"], allow)
          assert.strictEqual(codeOf(reply), problemOf("method_not_allowed"))
        }
      }
      assert.strictEqual((yield* call("/api/projects/apple/wake", { headers: bearer })).status, 405)
    })
  )

  it.live(
    "changes from a page of another site are refused, though it has the token; from a page of ours they are not",
    () =>
      Effect.gen(function* () {
        const { world, post } = yield* serve
        world.servers = [server("apple")]
        const host = "valet.example:7000"
        for (const origin of [
          "http://evil.example",
          "https://evil.example:7000",
          "http://valet.example",
          "http://valet.example:7001",
          "http://valet.example:7000.evil.example",
          "http://xvalet.example:7000",
          "null",
          "",
          "file://"
        ]) {
          for (const act of acts) {
            const reply = yield* post(`/api/projects/apple/${act}`, undefined, { origin, host })
            assert.strictEqual(reply.status, 403, origin)
            assert.strictEqual(codeOf(reply), problemOf("foreign_origin"))
          }
          assert.strictEqual((yield* post("/api/projects/apple", idle, { origin, host }, "PATCH")).status, 403)
        }
        assert.deepStrictEqual(world.calls, [])
        const own = { origin: `http://${host}`, host }
        assert.strictEqual((yield* post("/api/projects/apple/sleep", undefined, own)).status, 204)
        for (const [origin, host] of [
          ["https://valet.example", "valet.example"],
          ["https://valet.example", "valet.example:443"],
          ["http://valet.example", "valet.example:80"]
        ] as const) {
          assert.strictEqual((yield* post("/api/projects/apple/sleep", undefined, { origin, host })).status, 204, host)
        }
      })
  )
})
