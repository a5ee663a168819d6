import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as http from "node:http"
import * as net from "node:net"
import { closedPort, eventually, front, frontOf, raw, send, serve, settled } from "./support.ts"

const limit = 60_000

const textOf = (request: http.IncomingMessage, then: (text: string) => void) => {
  let text = ""
  request.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")))
  request.on("end", () => then(text))
}

/** Answers with what it was asked. */
const mirror = serve((request, response) =>
  textOf(request, (body) => response.end(`${request.method} ${request.url} ${body}`))
)

/** Everything that a socket gets, as it comes. */
const dial = (port: number, bytes: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
      const got = { text: "", ended: false, error: "" }
      socket.on("data", (chunk) => (got.text += chunk.toString("latin1")))
      socket.on("end", () => (got.ended = true))
      socket.on("error", (error) => (got.error = String(error)))
      socket.write(bytes, "latin1")
      return { socket, got }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`

describe("forwarding", { timeout: limit }, () => {
  it.live("a body in pieces arrives whole, whichever way it is framed", () =>
    Effect.gen(function* () {
      const { port } = yield* frontOf(yield* mirror)
      const chunked = yield* send(port, { method: "POST", path: "/projects/a/x?y", body: ["one", "two"] })
      assert.strictEqual(chunked.body, "POST /x?y onetwo")
      const counted = yield* send(port, {
        method: "PUT",
        path: "/projects/a/",
        headers: { "content-length": 6 },
        body: ["one", "two"]
      })
      assert.strictEqual(counted.body, "PUT / onetwo")
      assert.strictEqual((yield* send(port, { method: "POST", path: "/projects/a/" })).body, "POST / ")
      assert.strictEqual((yield* send(port, { method: "DELETE", path: "/projects/a/z" })).body, "DELETE /z ")
    })
  )

  it.live("what is no project's goes to the orchestrator's own endpoints, a project without its slash to it", () =>
    Effect.gen(function* () {
      const { own, port, uses } = yield* frontOf(yield* mirror)
      assert.strictEqual((yield* send(port, { path: "/status?x" })).body, "own")
      const redirect = yield* send(port, { path: "/projects/a?q=1" })
      assert.deepStrictEqual([redirect.status, redirect.headers.location], [308, "/projects/a/?q=1"])
      assert.deepStrictEqual([own.length, own[0]?.url, own[0]?.caller.local], [1, "/status?x", true])
      assert.deepStrictEqual(uses, [])
    })
  )

  it.live("nothing of a request is lost while its server starts", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<number>()
      const { port, uses } = yield* front({ use: () => Deferred.await(started) })
      const body = "x".repeat(3_000_000)
      const fiber = yield* Effect.forkChild(send(port, { method: "POST", path: "/projects/a/", body: [body, "end"] }))
      yield* eventually(() => uses.length === 1)
      yield* Deferred.succeed(started, yield* mirror)
      assert.strictEqual((yield* Fiber.join(fiber)).body, `POST / ${body}end`)
    })
  )

  it.live("HEAD, 204 and 304 have no body and keep their headers", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) => {
        const status = Number(request.url?.slice(1))
        response.writeHead(status, status === 204 ? { etag: "x" } : { etag: "x", "content-length": 5 })
        response.end(status === 200 ? "hello" : undefined)
      })
      const { port } = yield* frontOf(server)
      const pipelined = ["HEAD /200", "GET /204", "GET /304", "GET /200"].map(
        (line, at) => `${line} HTTP/1.1\r\nHost: a.localhost\r\n${at === 3 ? "Connection: close\r\n" : ""}\r\n`
      )
      const answers = (yield* raw(port, pipelined.join(""))).split(/(?=HTTP\/1\.1 )/)
      assert.deepStrictEqual(
        answers.map((answer) => [
          answer.slice(9, 12),
          /content-length: (\d+)/i.exec(answer)?.[1],
          /etag: x/.test(answer),
          answer.split("\r\n\r\n")[1]
        ]),
        [
          ["200", "5", true, ""],
          ["204", undefined, true, ""],
          ["304", "5", true, ""],
          ["200", "5", true, "hello"]
        ]
      )
    })
  )

  it.live("trailers go both ways, but none that only a proxy may say", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) =>
        textOf(request, () => {
          response.writeHead(200, { trailer: "x-sum" })
          response.write(JSON.stringify(request.trailers))
          response.addTrailers({ "x-sum": "2" })
          response.end()
        })
      )
      const { port } = yield* frontOf(server)
      const trailers = { "x-sum": "1", "x-forwarded-for": "6.6.6.6" }
      const answer = yield* send(port, {
        method: "POST",
        path: "/projects/a/",
        headers: { trailer: "x-sum" },
        body: ["x"],
        trailers
      })
      assert.deepStrictEqual([answer.body, answer.trailers], ['{"x-sum":"1"}', { "x-sum": "2" }])
    })
  )

  it.live("an event is with the client before the stream of events ends, and the head before the first event", () =>
    Effect.gen(function* () {
      let stream: http.ServerResponse | undefined
      const server = yield* serve((_, response) => {
        stream = response.writeHead(200, { "content-type": "text/event-stream" })
        response.flushHeaders()
      })
      const { port } = yield* frontOf(server)
      const { got } = yield* dial(port, get("/projects/a/"))
      yield* eventually(() => got.text.includes("text/event-stream"))
      stream?.write("data: 1\n\n")
      yield* eventually(() => got.text.includes("data: 1"))
      assert.isFalse(got.ended)
    })
  )

  it.live("a hint goes ahead of its answer, where the client's version has them", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => {
        response.writeEarlyHints({ link: "</a.css>; rel=preload" })
        response.end("ok")
      })
      const { port } = yield* frontOf(server)
      const text = yield* raw(port, get("/projects/a/", "Connection: close\r\n"))
      assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 /i)
      assert.match(yield* raw(port, "GET /projects/a/ HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 /)
    })
  )

  it.live("requests sent without waiting are answered in their order", () =>
    Effect.gen(function* () {
      const waiting: Array<() => void> = []
      const server = yield* serve((request, response) => {
        waiting.unshift(() => response.end(`<${request.url}>`))
        if (waiting.length === 6) for (const answer of waiting) answer()
      })
      const { port } = yield* frontOf(server)
      const requests = Array.from({ length: 6 }, (_, at) =>
        get(`/projects/a/${at}`, at === 5 ? "Connection: close\r\n" : "")
      )
      const text = yield* raw(port, requests.join(""))
      assert.deepStrictEqual(text.match(/<.*?>/g), ["</0>", "</1>", "</2>", "</3>", "</4>", "</5>"])
    })
  )

  it.live("a client of HTTP/1.0 gets an answer that ends with its connection", () =>
    Effect.gen(function* () {
      const server = yield* serve((_, response) => {
        response.write("one ")
        response.end("two")
      })
      const { port } = yield* frontOf(server)
      const text = yield* raw(port, "GET /projects/a/ HTTP/1.0\r\n\r\n")
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
      assert.notMatch(text, /transfer-encoding/i)
      assert.strictEqual(text.split("\r\n\r\n")[1], "one two")
    })
  )

  it.live("a client that does not read holds its server back", () =>
    Effect.gen(function* () {
      let written = 0
      const chunk = Buffer.alloc(64 * 1024)
      const server = yield* serve((_, response) => {
        const more = () => {
          do written += chunk.length
          while (response.write(chunk))
        }
        response.on("drain", more)
        more()
      })
      const { port } = yield* frontOf(server)
      const { socket } = yield* dial(port, get("/projects/a/"))
      socket.pause()
      assert.isBelow(yield* settled(() => written), 64 * 1024 * 1024)
    })
  )

  it.live("a server that does not read holds its client back", () =>
    Effect.gen(function* () {
      let held: http.IncomingMessage | undefined
      const server = yield* serve((request) => {
        held = request.pause()
      })
      const { port } = yield* frontOf(server)
      const { socket } = yield* dial(
        port,
        "POST /projects/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
      )
      const chunk = Buffer.alloc(64 * 1024)
      const more = () => {
        while (!socket.destroyed && socket.write(chunk)) {}
      }
      socket.on("drain", more)
      more()
      assert.isBelow(yield* settled(() => socket.bytesWritten), 64 * 1024 * 1024)
      socket.destroy()
      // A connection that nobody reads does not tell that its peer is gone.
      held?.resume()
    })
  )
})

describe("Expect: 100-continue", { timeout: limit }, () => {
  const expecting = "POST /projects/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
  /** Decides about the body by `accept`. */
  const deciding = (accept: boolean, bodies: Array<string>) =>
    serve(
      () => {},
      (server) =>
        server.on("checkContinue", (request: http.IncomingMessage, response: http.ServerResponse) => {
          textOf(request, (body) => bodies.push(body))
          if (!accept) return response.writeHead(417, { "content-length": 2 }).end("no")
          response.writeContinue()
          request.on("end", () => response.end("yes"))
          return response
        })
    )

  it.live("the server asks for the body", () =>
    Effect.gen(function* () {
      const { port } = yield* frontOf(yield* deciding(true, []))
      const { got, socket } = yield* dial(port, expecting)
      yield* eventually(() => got.text === "HTTP/1.1 100 Continue\r\n\r\n")
      socket.write("body")
      yield* eventually(() => got.text.endsWith("yes"))
    })
  )

  it.live("the server refuses it: the client is told, and its connection ends", () =>
    Effect.gen(function* () {
      const bodies: Array<string> = []
      const { open, port } = yield* frontOf(yield* deciding(false, bodies))
      const { got } = yield* dial(port, expecting)
      yield* eventually(() => got.ended && open() === 0)
      assert.match(got.text, /^HTTP\/1\.1 417 [^]*\r\nConnection: close\r\n\r\nno$/i)
      assert.deepStrictEqual(bodies, [])
    })
  )

  it.live("a client that does not wait for it is not held up", () =>
    Effect.gen(function* () {
      const { port } = yield* frontOf(yield* deciding(true, []))
      const { got } = yield* dial(port, `${expecting}body`)
      yield* eventually(() => got.text.endsWith("yes"))
    })
  )
})

describe("ends", { timeout: limit }, () => {
  it.live("an answer before the end of an upload reaches the client, which may go on", () =>
    Effect.gen(function* () {
      const server = yield* serve((request, response) => {
        request.pause()
        response.writeHead(413, { connection: "close" }).end("too large")
      })
      const { open, port } = yield* frontOf(server)
      const size = 20_000_000
      const { got, socket } = yield* dial(
        port,
        `POST /projects/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`
      )
      yield* eventually(() => got.text.includes("too large") && open() === 0)
      socket.write(Buffer.alloc(size))
      socket.write(get("/next"))
      yield* eventually(() => got.text.endsWith("own"))
    })
  )

  it.live("a client that goes takes its request along, and its use of the server ends", () =>
    Effect.gen(function* () {
      let closed = 0
      const server = yield* serve((request, response) => {
        response.write("begun")
        request.on("close", () => (closed += 1))
      })
      const { open, port } = yield* frontOf(server)
      const { got, socket } = yield* dial(port, get("/projects/a/"))
      yield* eventually(() => got.text.includes("begun"))
      assert.strictEqual(open(), 1)
      socket.destroy()
      yield* eventually(() => closed === 1 && open() === 0)
    })
  )

  it.live("a client that goes while its server starts waits for it no longer", () =>
    Effect.gen(function* () {
      const { open, port } = yield* front({ use: () => Effect.never })
      const { socket } = yield* dial(port, get("/projects/a/"))
      yield* eventually(() => open() === 1)
      socket.destroy()
      yield* eventually(() => open() === 0)
    })
  )

  it.live.each([
    ["counted", "1.1", { "content-length": 100 }, false],
    ["chunked", "1.1", {}, false],
    ["ended by the connection", "1.0", {}, true]
  ] as const)("an answer cut in the middle looks cut: %s", ([, version, headers, reset]) =>
    Effect.gen(function* () {
      let answer: http.ServerResponse | undefined
      const server = yield* serve((_, response) => {
        answer = response.writeHead(200, headers)
        response.write("part")
      })
      const { open, port } = yield* frontOf(server)
      const { got, socket } = yield* dial(port, `GET /projects/a/ HTTP/${version}\r\nHost: localhost\r\n\r\n`)
      yield* eventually(() => got.text.includes("part"))
      answer?.socket?.resetAndDestroy()
      yield* eventually(() => (got.ended || socket.destroyed) && open() === 0)
      assert.notMatch(got.text, /\r\n0\r\n/)
      assert.strictEqual(got.error.includes("ECONNRESET"), reset)
    })
  )
})

describe("connections to servers", { timeout: limit }, () => {
  /** Counts its connections; each answer says on which one it came. */
  const counting = (sockets: Array<net.Socket>) =>
    serve(
      (request, response) => textOf(request, () => response.end(String(sockets.indexOf(request.socket)))),
      (server) => server.on("connection", (socket: net.Socket) => sockets.push(socket))
    )

  it.live("are kept for what may be sent twice, and for nothing else", () =>
    Effect.gen(function* () {
      const { port } = yield* frontOf(yield* counting([]))
      const ask = (method: string, body = "") =>
        send(port, { method, path: "/projects/a/", headers: { "content-length": body.length }, body })
      assert.strictEqual((yield* ask("GET")).body, "0")
      assert.strictEqual((yield* ask("OPTIONS")).body, "0")
      assert.strictEqual((yield* ask("POST", "x")).body, "1")
      assert.strictEqual((yield* ask("GET", "x")).body, "2")
      assert.strictEqual((yield* ask("POST")).body, "3")
      assert.strictEqual((yield* ask("DELETE")).body, "4")
      assert.strictEqual((yield* ask("GET")).body, "0")
    })
  )

  it.live("are one process's, also where another one has its port", () =>
    Effect.gen(function* () {
      const server = yield* counting([])
      let pid = 1
      const { port } = yield* frontOf(server, { tryUse: () => ({ pid, port: server }) })
      assert.strictEqual((yield* send(port, { path: "/projects/a/" })).body, "0")
      pid = 2
      assert.strictEqual((yield* send(port, { path: "/projects/a/" })).body, "1")
    })
  )

  it.live("a kept one that the server closes under a request is replaced, and the request sent again", () =>
    Effect.gen(function* () {
      let requests = 0
      const server = yield* serve((request, response) => {
        requests += 1
        if (requests === 2) request.socket.resetAndDestroy()
        else response.end(String(requests))
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { path: "/projects/a/" })).body, "1")
      assert.strictEqual((yield* send(port, { path: "/projects/a/" })).body, "3")
    })
  )

  it.live("a request that may not be sent twice is not, when its connection ends", () =>
    Effect.gen(function* () {
      let requests = 0
      const server = yield* serve((request) => {
        requests += 1
        request.socket.destroy()
      })
      const { port } = yield* frontOf(server)
      const answer = yield* send(port, { method: "POST", path: "/projects/a/", body: "x" })
      assert.deepStrictEqual([answer.status, requests], [502, 1])
    })
  )

  it.live("a server that is gone before it was connected to is asked for again, with the body", () =>
    Effect.gen(function* () {
      const dead = yield* closedPort
      const server = yield* mirror
      let times = 0
      const { port } = yield* front({ use: () => Effect.sync(() => ((times += 1) < 3 ? dead : server)) })
      assert.strictEqual((yield* send(port, { method: "POST", path: "/projects/a/", body: "x" })).body, "POST / x")
      assert.strictEqual(times, 3)
    })
  )

  it.live("but not without end", () =>
    Effect.gen(function* () {
      const dead = yield* closedPort
      const { open, port, uses } = yield* front({ use: () => Effect.succeed(dead) })
      const answer = yield* send(port, { path: "/projects/a/" })
      assert.deepStrictEqual([answer.status, uses.length, open()], [502, 3, 0])
    })
  )
})
