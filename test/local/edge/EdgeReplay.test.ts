import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { IncomingHttpHeaders } from "node:http"
import { closedPort, edge, fakeMachines, plane, projectApp, raw, router, routerApp, send, serve } from "./support.ts"

/** A machine that says what it received. */
const echo = serve((request, response) => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    const body = Buffer.concat(chunks)
    response.setHeader("content-type", "application/json")
    response.end(
      JSON.stringify({
        method: request.method,
        path: request.url,
        headers: request.headers,
        rawHeaders: request.rawHeaders,
        trailers: request.trailers,
        length: body.length,
        body: body.length < 100 ? body.toString() : ""
      })
    )
  })
})

interface Echo {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: ReadonlyArray<string>
  readonly trailers: NodeJS.Dict<string>
  readonly length: number
  readonly body: string
}
const heard = (body: string): Echo => JSON.parse(body)

const toMachine = `instance=m1;app=${projectApp}`
const withMachine = Effect.gen(function* () {
  const machines = fakeMachines()
  machines.put({ id: "m1", port: yield* echo })
  return machines
})

describe("replay", () => {
  it.live("an answer without fly-replay is the client's", () =>
    Effect.gen(function* () {
      const port = yield* serve((_, response) => {
        response.writeHead(418, "Short and stout", [
          "X-Thing",
          "1",
          "x-thing",
          "2",
          "Set-Cookie",
          "a=1",
          "Set-Cookie",
          "b=2",
          "fly-replay-cache",
          "/x/*"
        ])
        response.end("body")
      })
      const { port: at } = yield* edge([plane(port)])
      const reply = yield* send(at)
      assert.strictEqual(reply.status, 418)
      assert.strictEqual(reply.body, "body")
      assert.deepStrictEqual(reply.headers["set-cookie"], ["a=1", "b=2"])
      assert.include(reply.rawHeaders, "X-Thing")
      assert.include(reply.rawHeaders, "x-thing")
      assert.match(String(reply.headers["fly-request-id"]), /^[0-9A-Z]{26}-local$/)
      assert.isUndefined(reply.headers["fly-replay-cache"])
    })
  )

  it.live("same method, path, headers and body, and fly-replay-src", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      const { port } = yield* edge([plane(yield* router(`${toMachine};state="a;b"`))], machines)
      const reply = yield* send(port, {
        method: "PUT",
        path: "/a/../%2e%2e/b?q=1&q=2",
        headers: { "X-Mixed-Case": "yes", cookie: "c=1", "content-type": "text/x" },
        body: "payload"
      })
      const got = heard(reply.body)
      assert.strictEqual(got.method, "PUT")
      assert.strictEqual(got.path, "/a/../%2e%2e/b?q=1&q=2")
      assert.strictEqual(got.body, "payload")
      assert.include(got.rawHeaders, "X-Mixed-Case")
      assert.strictEqual(got.headers.cookie, "c=1")
      assert.match(String(got.headers["fly-replay-src"]), /^instance=plane1;region=local;t=\d{16};state=a;b$/)
      assert.isUndefined(reply.headers["fly-replay"])
    })
  )

  it.live("the JSON form transforms path and headers", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      const port = yield* serve((request, response) => {
        request.resume()
        response.writeHead(200, { "content-type": "application/vnd.fly.replay+json; charset=utf-8" })
        response.end(
          JSON.stringify({
            app: projectApp,
            instance: "m1",
            transform: {
              path: "/inside?x=1",
              delete_headers: ["cookie"],
              set_headers: [{ name: "X-User", value: "ann" }]
            }
          })
        )
      })
      const { port: at } = yield* edge([plane(port)], machines)
      const got = heard((yield* send(at, { path: "/out", headers: { cookie: "secret", "x-user": "eve" } })).body)
      assert.strictEqual(got.path, "/inside?x=1")
      assert.isUndefined(got.headers.cookie)
      assert.strictEqual(got.headers["x-user"], "ann")
    })
  )

  it.live("a stale bounce goes back to the router with the machine's state", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* router(`app=${routerApp};state=stale`) })
      machines.put({ id: "m2", port: yield* echo })
      const seen: Array<string | undefined> = []
      const at = yield* router((request) => {
        const src = request.headers["fly-replay-src"]
        seen.push(typeof src === "string" ? src : undefined)
        return src === undefined ? toMachine : `instance=m2;app=${projectApp}`
      })
      const { port } = yield* edge([plane(at)], machines)
      const got = heard((yield* send(port, { method: "POST", body: "once more" })).body)
      assert.strictEqual(got.body, "once more")
      assert.strictEqual(seen.length, 2)
      assert.isUndefined(seen[0])
      assert.match(String(seen[1]), /^instance=m1;region=local;t=\d+;state=stale$/)
      assert.match(String(got.headers["fly-replay-src"]), /^instance=plane1;/)
    })
  )

  it.live("elsewhere leaves the issuer out, and an instance of the router app is honoured", () =>
    Effect.gen(function* () {
      const answers = (id: string) =>
        router((request) => {
          const src = String(request.headers["fly-replay-src"])
          if (request.url === "/third") return id === "third" ? undefined : "instance=third"
          return src.startsWith("instance=first") || id !== "first" ? undefined : "elsewhere=true"
        })
      const planes = [
        plane(yield* answers("first"), "first"),
        plane(yield* answers("second"), "second"),
        plane(yield* answers("third"), "third")
      ]
      const { port } = yield* edge(planes)
      for (let i = 0; i < 6; i++) assert.strictEqual((yield* send(port)).status, 200)
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* send(port, { path: "/third" })).status, 200)
      const lonely = yield* edge(planes.slice(0, 1))
      const refused = yield* send(lonely.port)
      assert.strictEqual(refused.status, 502)
      assert.match(refused.body, /PR01/)
    })
  )

  it.live("control planes take turns; one that is down is passed over; none is a 502", () =>
    Effect.gen(function* () {
      const hits = { a: 0, b: 0 }
      const count = (key: "a" | "b") =>
        router(() => {
          hits[key] += 1
          return undefined
        })
      const planes = [plane(yield* count("a"), "a"), plane(yield* closedPort, "dead"), plane(yield* count("b"), "b")]
      const { port } = yield* edge(planes)
      for (let i = 0; i < 9; i++) assert.strictEqual((yield* send(port, { method: "POST", body: "x" })).status, 200)
      assert.isAbove(hits.a, 2)
      assert.isAbove(hits.b, 2)
      planes.splice(0, 1)
      planes.splice(1, 1)
      const dead = yield* send(port)
      assert.strictEqual(dead.status, 502)
      assert.match(dead.body, /^\[PR01\] no control plane takes connections/)
      planes.splice(0)
      assert.match((yield* send(port)).body, /^\[PR01\] no control plane \(valet\) is running/)
    })
  )

  it.live("an app without an instance takes any started machine", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      machines.put({ id: "m0", state: "stopped" })
      machines.put({ id: "m2", port: yield* closedPort })
      const { port } = yield* edge([plane(yield* router(`app=${projectApp}`))], machines)
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* send(port)).status, 200)
      assert.deepStrictEqual(machines.started, [])
    })
  )

  it.live("prefer_instance that is gone falls to another, which is told", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      const { port } = yield* edge([plane(yield* router(`app=${projectApp};prefer_instance=gone`))], machines)
      assert.strictEqual(heard((yield* send(port)).body).headers["fly-preferred-instance-unavailable"], "gone")
      const honoured = yield* edge([plane(yield* router(`app=${projectApp};prefer_instance=m1`))], machines)
      const got = heard((yield* send(honoured.port)).body)
      assert.isUndefined(got.headers["fly-preferred-instance-unavailable"])
    })
  )
})

describe("limits", () => {
  it.live("1 MB is replayed, a byte more is not, known length or chunked", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const limit = 1024 * 1024
      const whole = heard((yield* send(port, { method: "POST", body: Buffer.alloc(limit) })).body)
      assert.strictEqual(whole.length, limit)
      const chunked = { "transfer-encoding": "chunked" }
      const parts = Array.from({ length: 16 }, () => Buffer.alloc(limit / 16))
      assert.strictEqual(
        heard((yield* send(port, { method: "POST", headers: chunked, body: parts })).body).length,
        limit
      )
      for (const headers of [chunked, { "content-length": limit + 1 }]) {
        const refused = yield* send(port, { method: "POST", headers, body: Buffer.alloc(limit + 1) })
        assert.strictEqual(refused.status, 413)
        assert.match(refused.body, /PA01/)
        assert.strictEqual(refused.headers["x-edge-error"], "PA01")
      }
    })
  )

  it.live("a router that answers itself gets a body of any size", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([plane(yield* echo)])
      const body = Buffer.alloc(20 * 1024 * 1024, 1)
      assert.strictEqual(heard((yield* send(port, { method: "POST", body })).body).length, body.length)
    })
  )

  it.live("ten replays pass, the eleventh is PA02", () =>
    Effect.gen(function* () {
      let count = 0
      let replays = 10
      const at = yield* router(() => (count++ < replays ? `app=${routerApp}` : undefined))
      const { port } = yield* edge([plane(at)])
      assert.strictEqual((yield* send(port)).status, 200)
      assert.strictEqual(count, 11)
      count = 0
      replays = 11
      const refused = yield* send(port)
      assert.strictEqual(refused.status, 502)
      assert.match(refused.body, /PA02/)
    })
  )

  it.live("malformed replays are PA03, unknown apps PA04, unknown machines PR02", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      machines.put({ id: "other", app: "elsewhere-app" })
      const at = yield* router((request) => decodeURIComponent(request.url?.slice(1) ?? ""))
      const { port } = yield* edge([plane(at)], machines)
      const code = (replay: string) =>
        Effect.map(
          send(port, { path: `/${encodeURIComponent(replay)}` }),
          ({ body, status }) => `${status} ${body.slice(0, 6)}`
        )
      assert.strictEqual(yield* code("nonsense"), "502 [PA03]")
      assert.strictEqual(yield* code("app=nobody"), "502 [PA04]")
      assert.strictEqual(yield* code(`app=${projectApp};instance=gone`), "502 [PR02]")
      assert.strictEqual(yield* code(`app=${projectApp};instance=other`), "502 [PR02]")
      const twice = yield* serve((_, response) =>
        response.writeHead(307, ["fly-replay", "app=a", "fly-replay", "app=b"]).end()
      )
      assert.match((yield* send((yield* edge([plane(twice)])).port)).body, /PA03/)
    })
  )

  it.live("a replay hidden behind an endless body is refused in time", () =>
    Effect.gen(function* () {
      const at = yield* serve((_, response) => {
        response.writeHead(200, { "content-type": "application/vnd.fly.replay+json" })
        const more = () => {
          while (response.write("x".repeat(65_536)));
        }
        response.on("drain", more)
        more()
      })
      const { port } = yield* edge([plane(at)])
      assert.match((yield* send(port)).body, /PA03/)
    })
  )
})

describe("headers", () => {
  const spoofed = {
    "fly-client-ip": "6.6.6.6",
    "Fly-Replay-Src": "instance=evil;state=stale",
    "fly-replay-failed": "instance=evil",
    "fly-forwarded-port": "1",
    "fly-region": "evil",
    "fly-force-instance-id": "evil",
    "fly-prefer-instance-id": "evil",
    "fly-anything": "evil",
    "fly-replay-cache-control": "skip",
    "x-forwarded-for": "7.7.7.7",
    "x-forwarded-proto": "https",
    via: "1.0 older"
  }

  it.live("what only the edge may say is the edge's, at the router and at the machine", () =>
    Effect.gen(function* () {
      const machines = yield* withMachine
      const direct = yield* edge([plane(yield* echo)])
      const replayed = yield* edge([plane(yield* router(toMachine))], machines)
      for (const { port } of [direct, replayed]) {
        const reply = yield* send(port, { headers: spoofed })
        const { headers, rawHeaders } = heard(reply.body)
        assert.notInclude(reply.body, "evil")
        assert.strictEqual(headers["fly-client-ip"], "127.0.0.1")
        assert.strictEqual(headers["x-forwarded-for"], "7.7.7.7, 127.0.0.1, 127.0.0.1")
        assert.strictEqual(headers["x-forwarded-proto"], "http")
        assert.strictEqual(headers["x-forwarded-port"], String(port))
        assert.strictEqual(headers["fly-forwarded-port"], String(port))
        assert.strictEqual(headers["fly-region"], "local")
        assert.strictEqual(headers["fly-replay-cache-control"], "skip")
        assert.strictEqual(headers.via, "1.0 older, 1.1 fly.io")
        assert.strictEqual(rawHeaders.filter((name) => name.toLowerCase() === "via").length, 1)
        assert.strictEqual(headers["fly-replay-src"] === undefined, port === direct.port)
      }
    })
  )

  it.live("hop-by-hop headers stay on their hop, and Connection can't remove framing or the edge's own", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([plane(yield* echo)])
      const text = yield* raw(
        port,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Secret: s\r\nKeep-Alive: timeout=9\r\nTE: trailers\r\n" +
          "Connection: close, X-Secret, Content-Length, Host, Fly-Client-IP, X-Forwarded-For\r\n\r\nabc"
      )
      const got = heard(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1))
      assert.strictEqual(got.body, "abc")
      assert.strictEqual(got.headers.host, "h")
      assert.isUndefined(got.headers["x-secret"])
      assert.isUndefined(got.headers["keep-alive"])
      assert.isUndefined(got.headers.te)
      assert.strictEqual(got.headers["fly-client-ip"], "127.0.0.1")
    })
  )

  it.live("chunked bodies, their trailers and answers' trailers pass; fly-* trailers do not", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      let sent: NodeJS.Dict<string> = {}
      const at = yield* serve((request, response) => {
        request.resume().on("end", () => {
          sent = request.trailers
          response.writeHead(200, { trailer: "x-sum" })
          response.write("part")
          response.addTrailers({ "x-sum": "42", "fly-replay": "app=evil" })
          response.end()
        })
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const reply = yield* send(port, {
        method: "POST",
        headers: { "transfer-encoding": "chunked", trailer: "x-check" },
        body: ["a", "b"],
        trailers: { "x-check": "ok", "fly-client-ip": "6.6.6.6" }
      })
      assert.deepStrictEqual({ ...sent }, { "x-check": "ok" })
      assert.deepStrictEqual({ ...reply.trailers }, { "x-sum": "42" })
      assert.strictEqual(reply.headers["transfer-encoding"], "chunked")
    })
  )

  it.live("HEAD, 204 and 304 have no bodies, and the connection stays usable", () =>
    Effect.gen(function* () {
      const at = yield* serve((request, response) => {
        const status = Number(request.url?.slice(1))
        response.writeHead(status, status === 200 ? { "content-length": "5" } : {})
        response.end(status === 200 ? "hello" : undefined)
      })
      const { port } = yield* edge([plane(at)])
      const text = yield* raw(
        port,
        ["HEAD /200", "GET /204", "GET /304"].map((line) => `${line} HTTP/1.1\r\nHost: h\r\n\r\n`).join("") +
          "GET /200 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
      )
      assert.deepStrictEqual(
        [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
        ["200", "204", "304", "200"]
      )
      assert.strictEqual(text.split("hello").length, 2)
      assert.isTrue(text.endsWith("hello"))
    })
  )
})
