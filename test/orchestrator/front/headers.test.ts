import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { filter, values } from "../../../src/proxy/Headers.ts"
import { toServer, type RequestHeadersInput } from "../../../src/orchestrator/proxy/RequestHeaders.ts"
import { frontOf, raw, send, serve } from "./support.ts"

const sent = (headers: ReadonlyArray<string>, more: Partial<RequestHeadersInput> = {}) =>
  toServer({
    method: "GET",
    headers,
    caller: { address: "8.8.8.8", local: false, proto: "http", host: "a.example:81" },
    peer: "8.8.8.8",
    peerTrusted: false,
    prefix: null,
    upgrade: undefined,
    ...more
  })

const added = ["X-Forwarded-For", "8.8.8.8", "X-Real-IP", "8.8.8.8", "X-Forwarded-Proto", "http"]
const told = [...added, "X-Forwarded-Port", "81", "X-Forwarded-Host", "a.example:81"]

describe("headers to a project's server", () => {
  it("go as they came, in order, case and number, and the proxy's own behind them", () => {
    const flat = ["Host", "a.example:81", "X-A", "1", "cookie", "a=1", "x-a", "2", "Cookie", "b=2", "Via", "1.1 x"]
    assert.deepStrictEqual(sent(flat), [...flat, ...told])
  })

  it.for([
    ["Connection", "keep-alive"],
    ["Keep-Alive", "timeout=5"],
    ["Proxy-Connection", "keep-alive"],
    ["TE", "trailers"],
    ["Upgrade", "h2c"],
    ["HTTP2-Settings", "AAMAAABkAAQAAP__"],
    ["Proxy", "http://evil.example"],
    ["X-Forwarded-For", "1.2.3.4"],
    ["X-FORWARDED-PROTO", "https"],
    ["X-Forwarded-Host", "evil.example"],
    ["X-Forwarded-Port", "1"],
    ["X-Forwarded-Prefix", "/evil"],
    ["X-Forwarded-User", "root"],
    ["X_Forwarded_For", "1.2.3.4"],
    ["X-Forwarded_User", "root"],
    ["Forwarded", "for=1.2.3.4"],
    ["X-Real-IP", "1.2.3.4"],
    ["Fly-Client-IP", "1.2.3.4"],
    ["fly-replay-src", "instance=x"]
  ])("%s of a stranger is not among them", ([name = "", value = ""]) =>
    assert.deepStrictEqual(sent(["Host", "a", name, value, "X-B", "1"]), ["Host", "a", "X-B", "1", ...told])
  )

  it("what Connection names goes, but not the message's frame, its host, or what the proxy says", () => {
    const named = "close, X-A, content-length, Host, X-Forwarded-For, x-real-ip"
    const flat = ["Host", "a", "Connection", named, "X-A", "1", "Content-Length", "3"]
    assert.deepStrictEqual(sent(flat, { method: "POST" }), ["Host", "a", "Content-Length", "3", ...told])
  })

  it("a trusted proxy's chain goes on, and its other words stay", () => {
    const flat = [
      "Host",
      "inner",
      "X-Forwarded-For",
      "6.6.6.6, 1.1.1.1",
      "x-forwarded-for",
      "10.0.0.9",
      "X-Forwarded-Proto",
      "https",
      "X-Forwarded-User",
      "ann",
      "Fly-Region",
      "ams",
      "X_Forwarded_For",
      "7.7.7.7"
    ]
    const caller = { address: "1.1.1.1", local: false, proto: "https", host: "app.example" } as const
    assert.deepStrictEqual(sent(flat, { caller, peer: "10.0.0.1", peerTrusted: true }), [
      "Host",
      "inner",
      "X-Forwarded-User",
      "ann",
      "Fly-Region",
      "ams",
      "X-Forwarded-For",
      "6.6.6.6, 1.1.1.1, 10.0.0.9, 10.0.0.1",
      "X-Real-IP",
      "1.1.1.1",
      "X-Forwarded-Proto",
      "https",
      "X-Forwarded-Port",
      "443",
      "X-Forwarded-Host",
      "app.example"
    ])
  })

  it("the prefix is told where one was taken off", () =>
    assert.deepStrictEqual(values(sent([], { prefix: "/projects/a" }), "x-forwarded-prefix"), ["/projects/a"]))

  it.for([
    ["POST", [], ["Content-Length", "0"]],
    ["GET", [], []],
    ["POST", ["Content-Length", "5"], ["Content-Length", "5"]],
    ["POST", ["Transfer-Encoding", "chunked"], ["Transfer-Encoding", "chunked"]],
    ["GET", ["transfer-encoding", "Chunked"], ["Transfer-Encoding", "chunked"]]
  ] as const)("%s with %j is framed by %j", ([method, headers, expected]) =>
    assert.deepStrictEqual(
      filter(sent(headers, { method }), (name) => name === "content-length" || name === "transfer-encoding"),
      [...expected]
    )
  )
})

describe("headers on the wire", () => {
  it.live("an answer comes back as it was sent, without what belonged to the connection, nothing doubled", () =>
    Effect.gen(function* () {
      const own = ["Date", "then", "Server", "mine", "Set-Cookie", "a=1", "X-A", "1", "set-cookie", "b=2"]
      const hop = [
        "Connection",
        "X-Gone, keep-alive",
        "X-Gone",
        "1",
        "Keep-Alive",
        "timeout=9",
        "Proxy-Connection",
        "x"
      ]
      const server = yield* serve((_, response) => {
        response.writeHead(299, "As It Is", [...own, ...hop, "Content-Length", "2"])
        response.end("ok")
      })
      const { port } = yield* frontOf(server)
      const text = yield* raw(port, "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n")
      const [head, body] = text.split("\r\n\r\n")
      assert.deepStrictEqual(head?.split("\r\n"), [
        "HTTP/1.1 299 As It Is",
        "Date: then",
        "Server: mine",
        "Set-Cookie: a=1",
        "X-A: 1",
        "set-cookie: b=2",
        "Content-Length: 2",
        "Connection: close"
      ])
      assert.strictEqual(body, "ok")
    })
  )

  it.live("a project by path gets no service worker beyond its path; one with a host of its own may", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => response.writeHead(200, { "Service-Worker-Allowed": "/" }).end())
      const { port } = yield* frontOf(server)
      const byPath = yield* send(port, { path: "/projects/a/sw.js", headers: { host: "localhost" } })
      assert.deepStrictEqual([byPath.status, byPath.headers["service-worker-allowed"]], [200, undefined])
      const byHost = yield* send(port, { path: "/sw.js", headers: { host: "a.localhost" } })
      assert.strictEqual(byHost.headers["service-worker-allowed"], "/")
    })
  )

  it.live("the server sees the client's Host and bytes, and who it is", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) =>
        response.end(JSON.stringify([request.url, request.rawHeaders]))
      )
      const { port, uses } = yield* frontOf(server)
      const headers = { host: "A.localhost.:99", "x-forwarded-for": "6.6.6.6", "x-latin": "caf\u00e9", "x-empty": "" }
      const answer = yield* send(port, { path: "/x/..//%2e?a=%zz&b=[]", headers })
      assert.deepStrictEqual(JSON.parse(answer.body), [
        "/x/..//%2e?a=%zz&b=[]",
        [
          "host",
          "A.localhost.:99",
          "x-latin",
          "caf\u00e9",
          "x-empty",
          "",
          "X-Forwarded-For",
          "127.0.0.1",
          "X-Real-IP",
          "127.0.0.1",
          "X-Forwarded-Proto",
          "http",
          "X-Forwarded-Port",
          "99",
          "X-Forwarded-Host",
          "A.localhost.:99",
          "Connection",
          "keep-alive"
        ]
      ])
      assert.deepStrictEqual(uses, [{ project: "a", kind: "request", client: "127.0.0.1" }])
    })
  )

  it.live("behind a trusted proxy the client counts, and its host decides", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) => response.end(JSON.stringify(request.headers)))
      const { own, port, uses } = yield* frontOf(server, {
        config: { trustedProxies: ["127.0.0.0/8"] },
        hosts: { "app.example": "shop" }
      })
      const headers = { host: "inner", "x-forwarded-for": "6.6.6.6, 1.1.1.1", "x-forwarded-proto": "https" }
      const answer = yield* send(port, { path: "/x", headers: { ...headers, "x-forwarded-host": "app.example" } })
      const seen: unknown = JSON.parse(answer.body)
      assert.deepInclude(seen, {
        host: "inner",
        "x-forwarded-for": "6.6.6.6, 1.1.1.1, 127.0.0.1",
        "x-real-ip": "1.1.1.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "app.example",
        "x-forwarded-port": "443"
      })
      assert.deepStrictEqual(uses, [{ project: "shop", kind: "request", client: "1.1.1.1" }])
      yield* send(port, { path: "/status", headers })
      assert.deepStrictEqual(own, [
        { url: "/status", caller: { address: "1.1.1.1", local: false, proto: "https", host: "inner" } }
      ])
    })
  )
})
