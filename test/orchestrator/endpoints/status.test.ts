import { createHash } from "node:crypto"
import { Script } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { OrchestratorStatus } from "../../../src/contract/OrchestratorStatus.ts"
import { adminToken, bearer, codeOf, problemOf, serve, server } from "./support.ts"

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(OrchestratorStatus), { onExcessProperty: "error" })

describe("GET /status", () => {
  it.live("tells servers by name and totals, as its contract says", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.servers = [
        server("zebra"),
        server("apple", { state: "idle", connections: 0, memory_bytes: null }),
        server("melon", { state: "failed", connections: 0, memory_bytes: null, pid: null, port: null })
      ]
      const reply = yield* call("/status")
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(reply.headers["content-type"], "application/json")
      const status = decode(reply.text)
      assert.deepStrictEqual(
        status.servers.map(({ project_id }) => String(project_id)),
        ["apple", "melon", "zebra"]
      )
      assert.deepStrictEqual(status.servers[2], server("zebra"))
      assert.deepStrictEqual(status.totals, {
        servers: 2,
        max_servers: 100,
        warm_servers: 3,
        connections: 2,
        requests: 28,
        spawns: 21,
        warm_claims: 22,
        stops: 23,
        crashes: 24,
        evictions: 25,
        replaced: 26,
        refused: 27,
        memory_bytes: 50_000_000
      })
      assert.match(status.version, /^\d+\.\d+\.\d+/)
    })
  )

  it.effect("its uptime is in whole seconds", () =>
    Effect.gen(function* () {
      const { call } = yield* serve
      yield* TestClock.adjust("90.9 seconds")
      assert.strictEqual(decode((yield* call("/status")).text).uptime_seconds, 90)
    })
  )

  it.live("memory is null where no server's is known", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.servers = [server("apple", { memory_bytes: null })]
      assert.isNull(decode((yield* call("/status")).text).totals.memory_bytes)
    })
  )

  it.live("a hundred servers with long output are answered whole", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      const last_output = Array.from({ length: 50 }, (_, line) => `${line} ${"x".repeat(200)}`)
      world.servers = Array.from({ length: 100 }, (_, at) => server(`p${at}`, { last_output }))
      const replies = yield* Effect.all(
        Array.from({ length: 20 }, () => call("/status")),
        { concurrency: "unbounded" }
      )
      for (const reply of replies) assert.lengthOf(decode(reply.text).servers, 100)
    })
  )

  it.live("asks all who are not local for the token, and tells nothing without", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.local = false
      world.servers = [server("apple")]
      for (const path of ["/status", "/metrics", "/api/projects/apple/logs"]) {
        for (const authorization of [undefined, "", "Bearer", "Bearer ", `Basic ${adminToken}`, "Bearer wrong"]) {
          const reply = yield* call(path, { headers: authorization === undefined ? {} : { authorization } })
          assert.strictEqual(reply.status, 401, `${path} ${authorization}`)
          assert.strictEqual(codeOf(reply), problemOf("unauthorized"))
          assert.strictEqual(reply.headers["www-authenticate"], `Bearer realm="valet"`)
          assert.notInclude(reply.text, "apple")
        }
      }
      assert.strictEqual((yield* call("/status", { headers: bearer })).status, 200)
      assert.strictEqual((yield* call("/metrics", { headers: bearer })).status, 200)
      assert.strictEqual((yield* call("/status", { headers: { authorization: `bearer  ${adminToken} ` } })).status, 200)
    })
  )

  it.live(
    "browsers get a page of which they may run nothing but its own script, and which tells nothing by itself",
    () =>
      Effect.gen(function* () {
        const { world, call } = yield* serve
        world.local = false
        world.servers = [server("apple")]
        const reply = yield* call("/status", { headers: { accept: browser } })
        assert.strictEqual(reply.status, 200)
        assert.strictEqual(reply.headers["content-type"], "text/html; charset=utf-8")
        assert.strictEqual(reply.headers["vary"], "accept")
        assert.notInclude(reply.text, "apple")
        const policy = String(reply.headers["content-security-policy"])
        assert.include(policy, "default-src 'none'")
        assert.include(policy, "frame-ancestors 'none'")
        for (const [tag, directive] of [
          ["script", "script-src"],
          ["style", "style-src"]
        ]) {
          const source = new RegExp(`<${tag}>([^]*)</${tag}>`).exec(reply.text)?.[1] ?? ""
          assert.isAbove(source.length, 500)
          assert.include(policy, `${directive} 'sha256-${createHash("sha256").update(source).digest("base64")}'`)
        }
        assert.doesNotThrow(() => new Script(/<script>([^]*)<\/script>/.exec(reply.text)?.[1] ?? "?"))
        assert.notMatch(reply.text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\son\w+=/)
        // A project's page at the same origin would read it there, or through the window that opened it.
        assert.notMatch(reply.text, /sessionStorage|localStorage|cookie|indexedDB/)
        assert.match(reply.text, /link\.rel = "noopener"/)
      })
  )

  it.live("the form follows what the client prefers", () =>
    Effect.gen(function* () {
      const { call } = yield* serve
      const typeFor = (accept: string) =>
        Effect.map(call("/status", { headers: { accept } }), ({ headers }) => headers["content-type"]?.split(";")[0])
      assert.strictEqual(yield* typeFor("text/html"), "text/html")
      assert.strictEqual(yield* typeFor("text/*;q=0.9, */*;q=0.1"), "text/html")
      for (const accept of [
        "*/*",
        "",
        "application/json",
        "application/json, text/html",
        "text/html;q=0.5, application/json",
        "text/html;q=0, */*",
        "text/html;q=x, */*",
        ",;=,"
      ]) {
        assert.strictEqual(yield* typeFor(accept), "application/json", accept)
      }
    })
  )
})

describe("the other pages", () => {
  it.live("/ leads browsers to the status and tells programs where things are", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.local = false
      const page = yield* call("/", { headers: { accept: browser } })
      assert.strictEqual(page.status, 302)
      assert.strictEqual(page.headers["location"], "/status")
      const plain = yield* call("/")
      assert.strictEqual(plain.status, 200)
      assert.deepStrictEqual(JSON.parse(plain.text), {
        status: "/status",
        health: "/health",
        metrics: "/metrics",
        projects: "/projects/<id>/"
      })
    })
  )

  it.live("/health is open to everybody, also as HEAD", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.local = false
      const reply = yield* call("/health")
      assert.strictEqual(reply.status, 200)
      assert.deepStrictEqual(JSON.parse(reply.text), { status: "ok" })
      const head = yield* call("/health", { method: "HEAD" })
      assert.strictEqual(head.status, 200)
      assert.strictEqual(head.text, "")
    })
  )

  it.live("/metrics counts by state, without names of projects", () =>
    Effect.gen(function* () {
      const { world, call } = yield* serve
      world.servers = [
        server("apple", { cold_start_ms: 100 }),
        server("melon", { cold_start_ms: 900, health: { ...server("melon").health, status: "unhealthy" } }),
        server("zebra", { state: "backoff", cold_start_ms: null, memory_bytes: null, connections: 0 })
      ]
      const reply = yield* call("/metrics")
      assert.strictEqual(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
      const lines = reply.text.split("\n")
      for (const line of [
        `valet_orchestrator_servers{state="running"} 2`,
        `valet_orchestrator_servers{state="backoff"} 1`,
        `valet_orchestrator_servers{state="idle"} 0`,
        "valet_orchestrator_unhealthy_servers 1",
        "valet_orchestrator_max_servers 100",
        "valet_orchestrator_warm_servers 3",
        "valet_orchestrator_connections 4",
        "valet_orchestrator_servers_memory_bytes 100000000",
        `valet_orchestrator_last_cold_start_seconds{quantile="0.5"} 0.1`,
        `valet_orchestrator_last_cold_start_seconds{quantile="1"} 0.9`,
        "# TYPE valet_orchestrator_requests_total counter",
        "valet_orchestrator_requests_total 28",
        "valet_orchestrator_spawns_total 21",
        "valet_orchestrator_warm_claims_total 22",
        "valet_orchestrator_stops_total 23",
        "valet_orchestrator_crashes_total 24",
        "valet_orchestrator_evictions_total 25",
        "valet_orchestrator_replaced_total 26",
        "valet_orchestrator_refused_total 27"
      ]) {
        assert.include(lines, line)
      }
      assert.notInclude(reply.text, "apple")
      // Every line is a comment or a sample: what a scraper can read.
      for (const line of lines.slice(0, -1))
        assert.match(line, /^(?:# (?:HELP|TYPE) \S+ .+|\w+(?:\{\w+="[^"]*"\})? \S+)$/)
    })
  )

  it.live("every answer forbids sniffing, storing, framing and reading by other sites", () =>
    Effect.gen(function* () {
      const { call } = yield* serve
      const requests = [
        call("/"),
        call("/health"),
        call("/status", { headers: { accept: browser, origin: "http://evil.example" } }),
        call("/status", { headers: { origin: "http://evil.example" } }),
        call("/metrics"),
        call("/nothing"),
        call("/health", { method: "DELETE" }),
        call("/api/projects"),
        call("/internal/keep-awake")
      ]
      for (const request of requests) {
        const { headers } = yield* request
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
        assert.strictEqual(headers["cache-control"], "no-store")
        assert.strictEqual(headers["cross-origin-resource-policy"], "same-origin")
        assert.strictEqual(headers["referrer-policy"], "no-referrer")
        assert.include(String(headers["content-security-policy"]), "frame-ancestors 'none'")
        assert.deepStrictEqual(
          Object.keys(headers).filter((name) => name.startsWith("access-control-")),
          []
        )
      }
    })
  )

  it.live("a failure inside is logged and answered as a problem without its cause", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, cause }) => void logged.push(`${logLevel} ${Cause.pretty(cause)}`))
      yield* Effect.gen(function* () {
        const { world, call } = yield* serve
        world.beforeStatus = Effect.die(new Error("a secret detail"))
        const reply = yield* call("/status")
        assert.strictEqual(reply.status, 500)
        assert.strictEqual(codeOf(reply), problemOf("internal_error"))
        assert.notInclude(reply.text, "secret")
        world.beforeStatus = Effect.void
        assert.strictEqual((yield* call("/status")).status, 200)
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.lengthOf(logged, 1)
      assert.match(logged[0] ?? "", /^Error .*a secret detail/)
    })
  )
})
