import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import {
  closedPort,
  edge,
  eventually,
  fakeMachines,
  plane,
  projectApp,
  raw,
  router,
  send,
  serve,
  settled
} from "./support.ts"

const toMachine = `instance=m1;app=${projectApp}`

/** The edge in front of one machine. */
const front = (handler: http.RequestListener) =>
  Effect.gen(function* () {
    const machines = fakeMachines()
    machines.put({ id: "m1", port: yield* serve(handler) })
    return yield* edge([plane(yield* router(toMachine))], machines)
  })

/** An answer as it arrives. */
const stream = (port: number, options: http.RequestOptions = {}) =>
  Effect.acquireRelease(
    Effect.callback<{ request: http.ClientRequest; response: http.IncomingMessage }>((resume) => {
      const request = http.request({ host: "127.0.0.1", port, agent: false, ...options })
      request.on("error", () => {})
      request.on("response", (response) => {
        response.on("error", () => {})
        resume(Effect.succeed({ request, response }))
      })
      request.end()
    }),
    ({ request }) => Effect.sync(() => request.destroy())
  )

describe("streaming", () => {
  it.live("events arrive one by one, the head before the first", () =>
    Effect.gen(function* () {
      let server: http.ServerResponse | undefined
      const { port } = yield* front((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders()
        server = response
      })
      const { response } = yield* stream(port)
      assert.strictEqual(response.headers["content-type"], "text/event-stream")
      let text = ""
      response.on("data", (chunk: Buffer) => (text += chunk.toString()))
      for (let i = 0; i < 3; i++) {
        server?.write(`data: ${i}\n\n`)
        yield* eventually(() => text.endsWith(`data: ${i}\n\n`))
      }
    })
  )

  it.live("64 MiB come whole, and a client that does not read holds the machine back", () =>
    Effect.gen(function* () {
      const total = 64 * 1024 * 1024
      let server: http.ServerResponse | undefined
      let sent = 0
      const { port } = yield* front((_, response) => {
        server = response
        response.writeHead(200, { "content-length": total })
        const more = () => {
          while (sent < total) {
            sent += 65_536
            if (!response.write(Buffer.alloc(65_536))) return
          }
          response.end()
        }
        response.on("drain", more)
        more()
      })
      const { response } = yield* stream(port)
      yield* eventually(() => server !== undefined && sent > 0)
      assert.isBelow(yield* settled(() => sent), total / 2)
      let received = 0
      response.on("data", (chunk: Buffer) => (received += chunk.length))
      yield* eventually(() => response.complete && received === total)
    })
  )

  it.live("an upload to the router is streamed at its pace", () =>
    Effect.gen(function* () {
      let reading: http.IncomingMessage | undefined
      const at = yield* serve((request, response) => {
        reading = request
        request.on("end", () => response.end("done"))
      })
      const { port } = yield* edge([plane(at)])
      let sent = 0
      const total = 64 * 1024 * 1024
      const finished = yield* Deferred.make<number>()
      const request = http.request({ host: "127.0.0.1", port, method: "POST", agent: false })
      request.on("response", (response) => Deferred.doneUnsafe(finished, Exit.succeed(response.statusCode ?? 0)))
      const more = () => {
        while (sent < total) {
          sent += 65_536
          if (!request.write(Buffer.alloc(65_536))) return
        }
        request.end()
      }
      request.on("drain", more)
      more()
      yield* eventually(() => reading !== undefined)
      assert.isBelow(yield* settled(() => sent), total / 2)
      reading?.resume()
      assert.strictEqual(yield* Deferred.await(finished), 200)
    })
  )

  it.live("a client that leaves ends its request at the machine, before and during the answer", () =>
    Effect.gen(function* () {
      const open = new Set<string>()
      const { port } = yield* front((request, response) => {
        const url = request.url ?? ""
        open.add(url)
        response.on("close", () => open.delete(url))
        if (url === "/during") response.writeHead(200).write("x")
      })
      const waiting = yield* Effect.forkChild(send(port, { path: "/before" }))
      yield* eventually(() => open.has("/before"))
      yield* Fiber.interrupt(waiting)
      yield* eventually(() => !open.has("/before"))
      const { request } = yield* stream(port, { path: "/during" })
      assert.isTrue(open.has("/during"))
      request.destroy()
      yield* eventually(() => !open.has("/during"))
    })
  )

  it.live("a machine that dies during its answer cuts the client's", () =>
    Effect.gen(function* () {
      const { port } = yield* front((request, response) => {
        response.writeHead(200).write("half")
        setImmediate(() => request.socket.destroy())
      })
      assert.match(String(yield* Effect.flip(send(port))), /aborted|ECONNRESET|hang up/)
    })
  )
})

describe("connections", () => {
  it.live("a client's is kept from request to request, and the router's is", () =>
    Effect.gen(function* () {
      const peers = new Set<number | undefined>()
      const at = yield* serve((request, response) => {
        peers.add(request.socket.remotePort)
        response.end()
      })
      const { port } = yield* edge([plane(at)])
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
      let reused = 0
      for (let i = 0; i < 5; i++) {
        yield* Effect.callback<void>((resume) => {
          const request = http.get({ host: "127.0.0.1", port, agent }, (response) => {
            if (request.reusedSocket) reused += 1
            response.resume().on("end", () => setImmediate(() => resume(Effect.void)))
          })
        })
      }
      assert.strictEqual(reused, 4)
      assert.strictEqual(peers.size, 1)
    })
  )

  it.live("one that the router closed meanwhile is replaced, never an error", () =>
    Effect.gen(function* () {
      let kill = false
      const at = yield* serve((request, response) => {
        if (kill) request.socket.destroy()
        else response.end("ok")
        kill = false
      })
      const { port } = yield* edge([plane(at)])
      assert.strictEqual((yield* send(port)).body, "ok")
      kill = true
      assert.strictEqual((yield* send(port)).body, "ok")
      yield* send(port)
      kill = true
      const once = yield* send(port, { method: "POST" })
      assert.match(once.body, /PU02/)
    })
  )

  it.live("100-continue comes from the target that wants the body, or from the edge for a replay", () =>
    Effect.gen(function* () {
      const ask = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
      const talk = (port: number) =>
        Effect.callback<string>((resume) => {
          let text = ""
          const socket = net.connect({ host: "127.0.0.1", port })
          socket.on("error", () => {})
          socket.on("data", (chunk) => {
            if (text === "" && chunk.toString().startsWith("HTTP/1.1 100 ")) socket.write("abc")
            text += chunk.toString()
          })
          socket.on("close", () => resume(Effect.succeed(text)))
          socket.write(ask)
        })
      const echo: http.RequestListener = (request, response) => request.pipe(response)
      const direct = yield* edge([plane(yield* serve(echo))])
      const expected = /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*abc/
      assert.match(yield* talk(direct.port), expected)
      assert.match(yield* talk((yield* front(echo)).port), expected)
      const refusing = yield* serve(
        () => {},
        (server) => server.on("checkContinue", (_, response) => response.writeHead(417).end())
      )
      assert.match(yield* talk((yield* edge([plane(refusing)])).port), /^HTTP\/1\.1 417 /)
    })
  )
})

describe("the end of the scope", () => {
  it.live("lets requests finish, then cuts what is left, and frees the port", () =>
    Effect.gen(function* () {
      const answers: Array<http.ServerResponse> = []
      const at = yield* serve((request, response) => {
        request.resume()
        answers.push(response)
        if (request.url === "/endless") response.writeHead(200).write("x")
      })
      const scope = yield* Scope.make()
      const { port } = yield* edge([plane(at)], fakeMachines(), { drainGrace: "1 second" }).pipe(Scope.provide(scope))
      const idle = net.connect({ host: "127.0.0.1", port })
      idle.on("error", () => {})
      const idleClosed = yield* Deferred.make<void>()
      idle.on("close", () => Deferred.doneUnsafe(idleClosed, Exit.void))
      const slow = yield* Effect.forkChild(send(port, { path: "/slow" }))
      const endless = yield* Effect.forkChild(Effect.exit(send(port, { path: "/endless" })))
      yield* eventually(() => answers.length === 2)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Deferred.await(idleClosed)
      assert.match(String(yield* Effect.flip(send(port))), /ECONNREFUSED/)
      for (const answer of answers) if (!answer.headersSent) answer.end("made it")
      const reply = yield* Fiber.join(slow)
      assert.strictEqual(reply.body, "made it")
      assert.strictEqual(reply.headers.connection, "close")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(endless)))
      yield* Fiber.join(closing)
    })
  )

  it.live("a port that is taken is a typed error", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([])
      const error = yield* Effect.flip(edge([], fakeMachines(), { port }))
      assert.strictEqual(error._tag, "ListenError")
      assert.include(error.message, String(port))
    })
  )
})

describe("nonsense", () => {
  const request = (lines: string) => `${lines}\r\nConnection: close\r\n\r\n`
  const long = "a".repeat(10_000)

  it.live("any Host reaches the router as it is", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<string>> = []
      const at = yield* serve((request, response) => {
        seen.push(request.rawHeaders.filter((_, at, all) => all[at - 1]?.toLowerCase() === "host"))
        response.end()
      })
      const { port } = yield* edge([plane(at)])
      const hosts = [
        [],
        [""],
        ["[::1]:8080"],
        ["UPPER.Example.COM"],
        ["a..b"],
        ["x:99999"],
        [long],
        ["\xe4\xf6.example"],
        ["{}|"],
        ["%00"]
      ]
      for (const host of hosts) {
        const text = yield* raw(port, request(["GET / HTTP/1.1", ...host.map((name) => `Host: ${name}`)].join("\r\n")))
        assert.match(text, /^HTTP\/1\.1 200 /)
      }
      assert.deepStrictEqual(seen, hosts)
    })
  )

  it.live("any path reaches the router as it is", () =>
    Effect.gen(function* () {
      const seen: Array<string | undefined> = []
      const at = yield* serve((request, response) => {
        seen.push(request.url)
        response.end()
      })
      const { port } = yield* edge([plane(at)])
      const paths = [
        "/../../etc/passwd",
        "/%2e%2e/%00",
        "//x//",
        "/?",
        "/a?b#c",
        "http://evil/x",
        `/${"p".repeat(9000)}`
      ]
      for (const path of paths) {
        assert.match(yield* raw(port, request(`GET ${path} HTTP/1.1\r\nHost: h`)), /^HTTP\/1\.1 200 /)
      }
      assert.match(yield* raw(port, request("OPTIONS * HTTP/1.1\r\nHost: h")), /^HTTP\/1\.1 200 /)
      assert.deepStrictEqual(seen, [...paths, "*"])
    })
  )

  it.live("what Node's parser refuses never gets through, and nothing of it stops the edge", () =>
    Effect.gen(function* () {
      let requests = 0
      const at = yield* serve((_, response) => {
        requests += 1
        response.end()
      })
      const { port } = yield* edge([plane(at)])
      const bad: ReadonlyArray<readonly [string, string]> = [
        ["nonsense", "400"],
        [request("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b"), "400"],
        [request("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"), "400"],
        [request("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x"), "400"],
        [request(`GET / HTTP/1.1\r\nHost: h\r\nX: ${long}${long}`), "431"],
        [request("GET /\xff HTTP/1.1\r\nHost: h"), "400"],
        [request("G@T / HTTP/1.1\r\nHost: h"), "400"],
        [request("CONNECT h:1 HTTP/1.1\r\nHost: h:1"), "400"]
      ]
      for (const [bytes, status] of bad) {
        const text = yield* raw(port, bytes === "nonsense" ? "nonsense\r\n\r\n" : bytes)
        assert.isTrue(text.startsWith(`HTTP/1.1 ${status} `), `${bytes.slice(0, 60)} → ${text.slice(0, 40)}`)
      }
      assert.strictEqual(requests, 0)
      assert.strictEqual((yield* send(port)).status, 200)
    })
  )

  it.live("nor does what a target should not say", () =>
    Effect.gen(function* () {
      const answers = [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        `HTTP/1.1 200 OK\r\nX: ${long}${long}\r\n\r\n`,
        ""
      ]
      for (const answer of answers) {
        const at = yield* Effect.acquireRelease(
          Effect.callback<net.Server>((resume) => {
            const server = net.createServer((socket) => {
              socket.on("error", () => {})
              socket.on("data", () => socket.end(answer, "latin1"))
            })
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
        )
        const address = at.address()
        const { port } = yield* edge([plane(typeof address === "object" && address !== null ? address.port : 0)])
        const reply = yield* send(port)
        assert.strictEqual(`${reply.status} ${String(reply.headers["x-edge-error"])}`, "502 PU02", answer.slice(0, 30))
      }
      const none = yield* edge([plane(yield* closedPort)])
      assert.match((yield* send(none.port, { method: "HEAD" })).headers["x-edge-error"]?.toString() ?? "", /PR01/)
    })
  )
})
