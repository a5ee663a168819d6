import { Agent } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { Deadline, WakeError } from "../../src/programs/lifecycle/Lifecycle.ts"
import { StoreError } from "../../src/services/db/StoreError.ts"
import { testConfig } from "../../src/testing/TestPlane.ts"
import { active, dormant, makeWorld, projectHost, send, sendRaw, serve, woken } from "./support.ts"

const operator = { authorization: `Bearer ${Redacted.value(testConfig.secret)}` }
const demo = projectHost("demo")
const replay = new RegExp(`^instance=m-demo;app=${testConfig.fly.app};timeout=10s;fallback=prefer_self$`)
const upgrade =
  "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

describe("the listener", () => {
  it.live("replays requests, cached or not, over one kept connection", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", active("demo"))
      const { port } = yield* serve(world)
      const agent = yield* Effect.acquireRelease(
        Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 1 })),
        (agent) => Effect.sync(() => agent.destroy())
      )
      for (let i = 0; i < 5; i++) {
        const reply = yield* send({
          port,
          path: "/a?b=c",
          headers: { host: demo },
          method: "POST",
          body: "x".repeat(100),
          agent
        })
        assert.strictEqual(reply.status, 307)
        assert.match(String(reply.headers["fly-replay"]), replay)
        assert.isUndefined(reply.headers["location"])
        assert.strictEqual(reply.text, "")
      }
      assert.strictEqual(world.finds, 1)
    })
  )

  it.live("frames what the router has to say, and keeps the connection", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { port } = yield* serve(world)
      const asked = `GET / HTTP/1.1\nHost: ${demo}\n`
      const text = yield* sendRaw(port, `${asked}\nHEAD / HTTP/1.1\nHost: ${demo}\n\n${asked}Connection: close\n\n`)
      const lengths = [...text.matchAll(/\r\ncontent-length: (\d+)\r\n/gi)].map(([, length]) => length)
      const [first = ""] = text.split("HTTP/1.1 404 Not Found\r\n").slice(1)
      assert.deepStrictEqual(
        lengths,
        Array.from({ length: 3 }, () => String(first.split("\r\n\r\n")[1]?.length))
      )
      assert.strictEqual(text.split('"project_not_found"').length - 1, 2)
      assert.notMatch(text, /chunked/i)
    })
  )

  it.live("replays upgrades, cached or not, and closes the connection", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", active("demo"))
      const { port } = yield* serve(world)
      for (let i = 0; i < 2; i++) {
        const text = yield* sendRaw(port, `GET /ws HTTP/1.1\nHost: ${demo}\n${upgrade}\n\n`)
        assert.match(text, /^HTTP\/1\.1 307 Temporary Redirect\r\n/)
        assert.match(text, /\r\nfly-replay: instance=m-demo;/)
        assert.match(text, /\r\nconnection: close\r\n/i)
      }
    })
  )

  it.live("wakes for an upgrade, and lets a refused one go", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", dormant("demo"))
      world.rows.set("late", dormant("late"))
      const { port } = yield* serve(world, {
        lifecycle: {
          wake: (projectId) =>
            projectId === "demo"
              ? Effect.succeed(woken(active("demo")))
              : Effect.fail(new WakeError({ reason: new Deadline({ detail: "" }) }))
        }
      })
      const up = yield* sendRaw(port, `GET /ws HTTP/1.1\nHost: ${demo}\n${upgrade}\n\n`)
      assert.match(up, /^HTTP\/1\.1 307 [^]*fly-replay: instance=m-demo;/)
      const late = yield* sendRaw(port, `GET /ws HTTP/1.1\nHost: ${projectHost("late")}\n${upgrade}\n\n`)
      assert.match(late, /^HTTP\/1\.1 503 [^]*retry-after: 1\r\n/i)
      assert.match(late, /connection: close\r\n/i)
    })
  )

  it.live("keeps no connection of a refused upgrade whose client went, whatever came behind the request", () => {
    const lines: Array<string> = []
    const capture = Logger.layer([Logger.map(Logger.formatJson, (line) => void lines.push(line))])
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { port } = yield* serve(yield* makeWorld, {}, { drainMs: 500 }).pipe(Scope.provide(scope))
      const body = "x".repeat(300_000)
      const request = `POST /api/projects HTTP/1.1\nHost: plane.example\n${upgrade}\nContent-Length: ${body.length}\n\n`
      assert.match(yield* sendRaw(port, request + body), /^HTTP\/1\.1 404 /)
      yield* Scope.close(scope, Exit.void)
      assert.isEmpty(lines.filter((line) => line.includes("still open")))
    }).pipe(Effect.provide(capture))
  })

  it.live("speaks no WebSocket itself", () =>
    Effect.gen(function* () {
      const { port } = yield* serve(yield* makeWorld)
      for (const path of ["/api/projects", "/api/status", "/", "/nothing"]) {
        const text = yield* sendRaw(port, `GET ${path} HTTP/1.1\nHost: plane.example\n${upgrade}\n\n`)
        assert.match(text, /^HTTP\/1\.1 404 /)
        assert.match(text, /connection: close\r\n/i)
        assert.match(text, /"code":"not_found"/)
      }
    })
  )

  it.live("has an answer for hostile requests, and then still serves", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", active("demo"))
      const { port } = yield* serve(world)
      const close = "Connection: close"
      const cases = [
        [`GET /internal/configure HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 404],
        [`GET /%69nternal/configure HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 404],
        [`GET /x/..%2finternal HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 404],
        [`GET //internal/configure HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 404],
        [`GET http://${demo}/internal/configure HTTP/1.1\nHost: plane.example\n${close}\n\n`, 404],
        [`GET http://${demo}/x HTTP/1.1\nHost: plane.example\n${close}\n\n`, 307],
        [`GET /x HTTP/1.1\nHost: ${demo}\nHost: other.example\n${close}\n\n`, 400],
        [`GET /x HTTP/1.1\nHost: a.b.fly.valet.host\n${close}\n\n`, 400],
        [`GET /x HTTP/1.1\nHost: ${"a".repeat(10_000)}\n${close}\n\n`, 400],
        [`GET /x HTTP/1.1\n${close}\n\n`, 400],
        ["GET /x HTTP/1.0\n\n", 404],
        [`GET /projects/demo/x HTTP/1.0\n\n`, 307],
        [`OPTIONS * HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 204],
        [`PROPFIND /x HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 307],
        [`HEAD /x HTTP/1.1\nHost: ${demo}\n${close}\n\n`, 307],
        [`GET /api/projects/${"%ff".repeat(20)} HTTP/1.1\nHost: plane.example\n${close}\n\n`, 404],
        [`GET /api/projects/%zz HTTP/1.1\nHost: plane.example\n${close}\n\n`, 404]
      ] as const
      for (const [bytes, status] of cases) {
        const text = yield* sendRaw(port, bytes)
        assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), `${bytes.slice(0, 80)} → ${text.slice(0, 300)}`)
      }
      assert.strictEqual((yield* send({ port, path: "/health", headers: { host: demo } })).status, 200)
    })
  )
})

describe("failures that nobody foresaw", () => {
  it.live("are a 500 with an id that stands beside the cause in the log, and no secret", () => {
    const lines: Array<string> = []
    const capture = Logger.layer([Logger.map(Logger.formatJson, (line) => void lines.push(line))])
    return Effect.gen(function* () {
      const world = yield* makeWorld
      world.beforeFind = Effect.die(new Error("password=hunter2"))
      const { port } = yield* serve(world, { projects: { counts: Effect.die(new Error("counting broke")) } })
      const paths: ReadonlyArray<readonly [string, string]> = [
        ["/api/projects/demo", "hunter2"],
        ["/projects/demo/x", "hunter2"],
        ["/api/status", "counting broke"]
      ]
      for (const [path, cause] of paths) {
        const reply = yield* send({ port, path, headers: { origin: "https://a.example", ...operator } })
        assert.strictEqual(reply.status, 500)
        assert.strictEqual(reply.headers["content-type"], "application/problem+json")
        assert.strictEqual(reply.headers["access-control-allow-origin"], "https://a.example")
        assert.notInclude(reply.text, cause)
        const { code, error_id } = JSON.parse(reply.text)
        assert.strictEqual(code, "internal_error")
        const logged = lines.filter((line) => line.includes(error_id))
        assert.strictEqual(logged.length, 1)
        assert.include(logged[0], cause)
      }
      assert.isFalse(lines.some((line) => line.includes(Redacted.value(testConfig.secret))))
    }).pipe(Effect.provide(capture))
  })
})

describe("probes", () => {
  it.live("ready follows the database and never a project", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { port } = yield* serve(world)
      assert.strictEqual((yield* send({ port, path: "/health/ready" })).status, 200)
      world.ready = false
      const reply = yield* send({ port, path: "/health/ready" })
      assert.strictEqual(reply.status, 503)
      assert.strictEqual(JSON.parse(reply.text).code, "not_ready")
      assert.isDefined(reply.headers["retry-after"])
      assert.strictEqual((yield* send({ port, path: "/health" })).status, 200)
    })
  )

  it.live("metrics are for the operator and the private network", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", active("demo"))
      const { port } = yield* serve(world, {
        projects: { counts: Effect.fail(new StoreError({ operation: "counts", reason: "Unavailable", detail: "" })) }
      })
      yield* send({ port, path: "/x", headers: { host: demo } })
      const direct = yield* send({ port, path: "/metrics" })
      assert.strictEqual(direct.status, 200)
      assert.match(String(direct.headers["content-type"]), /^text\/plain; version=0\.0\.4/)
      assert.match(direct.text, /# TYPE valet_router_replays_total counter\nvalet_router_replays_total 1\n/)
      for (const name of ["fly-client-ip", "x-forwarded-for", "forwarded", "via"]) {
        assert.strictEqual((yield* send({ port, path: "/metrics", headers: { [name]: "10.0.0.1" } })).status, 401)
      }
      const forwarded = { "fly-client-ip": "203.0.113.9" }
      assert.strictEqual((yield* send({ port, path: "/metrics", headers: { ...forwarded, ...operator } })).status, 200)
      const wrong = { authorization: "Bearer wrong" }
      assert.strictEqual((yield* send({ port, path: "/metrics", headers: wrong })).status, 401)
    })
  )
})

describe("pages", () => {
  it.live("the dashboard holds no secret and allows its own script alone", () =>
    Effect.gen(function* () {
      const { port } = yield* serve(yield* makeWorld)
      const reply = yield* send({ port, path: "/" })
      assert.strictEqual(reply.status, 200)
      assert.match(String(reply.headers["content-type"]), /^text\/html/)
      const policy = String(reply.headers["content-security-policy"])
      assert.match(policy, /default-src 'none'; script-src 'sha256-/)
      assert.notInclude(policy, "unsafe")
      assert.notInclude(reply.text, Redacted.value(testConfig.secret))
      assert.notMatch(reply.text, /(?:src|href)="https?:/)
      // Pages of projects by path have the same origin, and would find it there.
      assert.notMatch(reply.text, /sessionStorage|localStorage|cookie|indexedDB/)
    })
  )

  it.live("the documents need nothing from elsewhere", () =>
    Effect.gen(function* () {
      const { port } = yield* serve(yield* makeWorld)
      const docs = yield* send({ port, path: "/api/docs" })
      assert.strictEqual(docs.status, 200)
      assert.match(docs.text, /Valet control plane/)
      assert.match(String(docs.headers["content-security-policy"]), /^default-src 'none'; .*connect-src 'self'/)
      assert.notMatch(docs.text, /<(?:script|link)[^>]+(?:src|href)=["']?https?:/)
      const document = yield* send({ port, path: "/api/openapi.json" })
      assert.strictEqual(JSON.parse(document.text).info.title, "Valet control plane")
    })
  )
})

describe("shutdown", () => {
  it.live("ends when the last request in flight has its answer, and closes kept connections", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", dormant("demo"))
      const arrived = yield* Latch.make(false)
      const done = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const { port } = yield* serve(world, {
        lifecycle: { wake: () => Effect.andThen(arrived.open, Effect.as(Deferred.await(done), woken(active("demo")))) }
      }).pipe(Scope.provide(scope))
      const agent = new Agent({ keepAlive: true })
      assert.strictEqual((yield* send({ port, path: "/health", agent })).status, 200)
      const held = yield* Effect.forkChild(send({ port, path: "/x", headers: { host: demo }, agent }))
      yield* arrived.await
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      const refused = yield* Effect.flip(send({ port, path: "/health" })).pipe(Effect.retry({ times: 50 }))
      assert.match(refused.message, /ECONNREFUSED/)
      assert.isUndefined(closing.pollUnsafe())
      yield* Deferred.succeed(done, undefined)
      const reply = yield* Fiber.join(held)
      assert.strictEqual(reply.status, 307)
      assert.strictEqual(reply.headers["connection"], "close")
      yield* Fiber.join(closing)
      agent.destroy()
    })
  )

  it.live("answers what still waits at the end of its patience with 503", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", dormant("demo"))
      const arrived = yield* Latch.make(false)
      const scope = yield* Scope.make()
      const { port } = yield* serve(
        world,
        { lifecycle: { wake: () => Effect.andThen(arrived.open, Effect.never) } },
        { drainMs: 50 }
      ).pipe(Scope.provide(scope))
      const held = yield* Effect.forkChild(send({ port, path: "/x", headers: { host: demo } }))
      yield* arrived.await
      yield* Scope.close(scope, Exit.void)
      const reply = yield* Fiber.join(held)
      assert.strictEqual(reply.status, 503)
      assert.strictEqual(JSON.parse(reply.text).code, "shutting_down")
      assert.strictEqual(reply.headers["retry-after"], "1")
      assert.strictEqual(reply.headers["connection"], "close")
    })
  )

  it.live("fails where its port is taken", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { port } = yield* serve(world)
      const error = yield* Effect.flip(serve(world, { config: (config) => ({ ...config, port }) }))
      assert.strictEqual(error._tag, "ListenError")
      assert.match(error.message, /EADDRINUSE/)
    })
  )
})
