import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type * as http from "node:http"
import * as net from "node:net"
import { eventually, frontOf, raw, send, serve } from "./support.ts"

const limit = 60_000

const asking = (path: string, protocol = "echo") =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nSec-X: 1\r\n\r\n`

/** A client that keeps its own half open. */
const dial = (port: number, bytes: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
      const got = { text: "", ended: false, closed: false }
      socket.on("data", (chunk) => (got.text += chunk.toString("latin1")))
      socket.on("end", () => (got.ended = true))
      socket.on("close", () => (got.closed = true))
      socket.on("error", () => {})
      socket.write(bytes, "latin1")
      return { socket, got }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

interface Side {
  readonly socket: net.Socket
  readonly request: http.IncomingMessage
  text: string
  ended: boolean
  closed: boolean
}

const accepted = "HTTP/1.1 101 Sure\r\nupgrade: echo\r\nX-B: 1\r\nConnection: Upgrade\r\nx-b: 2\r\n\r\n"

/** A server that takes every upgrade, says `first` right behind its 101, and keeps its half open. */
const taking = (sides: Array<Side>, first = "") =>
  serve(
    (request, response) => response.end(`plain ${request.headers.upgrade ?? "-"}`),
    (server) =>
      server.on("upgrade", (request: http.IncomingMessage, duplex, head: Buffer) => {
        const { socket } = request
        const side: Side = { socket, request, text: head.toString("latin1"), ended: false, closed: false }
        sides.push(side)
        socket.on("data", (chunk: Buffer) => (side.text += chunk.toString("latin1")))
        socket.on("end", () => (side.ended = true))
        socket.on("close", () => (side.closed = true))
        socket.on("error", () => {})
        duplex.write(accepted + first)
      })
  )

describe("upgrades", { timeout: limit }, () => {
  it.live("are joined: what either side said at once is not lost, and the head arrives as it was sent", () =>
    Effect.gen(function* () {
      const sides: Array<Side> = []
      const { open, port, uses } = yield* frontOf(yield* taking(sides, "hello "))
      const { got, socket } = yield* dial(port, `${asking("/projects/a/ws?x=%20")}early `)
      yield* eventually(() => got.text.endsWith("hello ") && sides[0]?.text === "early ")
      assert.strictEqual(
        got.text,
        "HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-B: 1\r\nx-b: 2\r\n\r\nhello "
      )
      const [side] = sides
      assert.strictEqual(side?.request.url, "/ws?x=%20")
      assert.deepInclude(side?.request.headers, {
        host: "localhost",
        connection: "Upgrade",
        upgrade: "echo",
        "sec-x": "1",
        "x-forwarded-prefix": "/projects/a"
      })
      socket.write("\0\xff", "latin1")
      side?.socket.write("bytes")
      yield* eventually(() => got.text.endsWith("bytes") && side?.text === "early \0\xff")
      assert.deepStrictEqual([uses, open()], [[{ project: "a", kind: "connection", client: null }], 1])
    })
  )

  it.live("each half ends on its own, and the use ends with both", () =>
    Effect.gen(function* () {
      const sides: Array<Side> = []
      const { open, port } = yield* frontOf(yield* taking(sides))
      const { got, socket } = yield* dial(port, asking("/projects/a/"))
      yield* eventually(() => got.text.length > 0)
      socket.end("last words")
      yield* eventually(() => sides[0]?.ended === true)
      const [side] = sides
      assert.strictEqual(side?.text, "last words")
      assert.isFalse(got.ended)
      side?.socket.write("answer")
      yield* eventually(() => got.text.endsWith("answer"))
      assert.strictEqual(open(), 1)
      side?.socket.end()
      yield* eventually(() => got.ended && got.closed && open() === 0)
    })
  )

  it.live("a side that dies takes the other along", () =>
    Effect.gen(function* () {
      const sides: Array<Side> = []
      const { open, port } = yield* frontOf(yield* taking(sides))
      const one = yield* dial(port, asking("/projects/a/"))
      yield* eventually(() => one.got.text.length > 0)
      one.socket.resetAndDestroy()
      yield* eventually(() => sides[0]?.closed === true && open() === 0)
      const two = yield* dial(port, asking("/projects/a/"))
      yield* eventually(() => two.got.text.length > 0)
      sides[1]?.socket.resetAndDestroy()
      yield* eventually(() => two.got.closed && open() === 0)
    })
  )

  it.live("a refusal is passed on with its body, and is the last on its connection", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        () => {},
        (server) =>
          server.on("upgrade", (_, socket) =>
            socket.end("HTTP/1.1 401 No\r\nWWW-Authenticate: x\r\nContent-Length: 5\r\n\r\nsorry")
          )
      )
      const { open, port } = yield* frontOf(server)
      const text = yield* raw(port, asking("/projects/a/"))
      assert.match(text, /^HTTP\/1\.1 401 No\r\nWWW-Authenticate: x\r\n[^]*Connection: close\r\n\r\nsorry$/)
      assert.strictEqual(open(), 0)
    })
  )

  it.live("nothing of the orchestrator's own, and no other HTTP, is upgraded to", () =>
    Effect.gen(function* () {
      const sides: Array<Side> = []
      const { own, port } = yield* frontOf(yield* taking(sides))
      assert.match(yield* raw(port, asking("/status")), /^HTTP\/1\.1 404 [^]*Connection: close\r\n/)
      assert.match(yield* raw(port, asking("/projects/a/internal")), /^HTTP\/1\.1 404 /)
      assert.deepStrictEqual(own, [])
      for (const protocol of ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2"]) {
        const { got } = yield* dial(port, asking("/projects/a/", protocol))
        yield* eventually(() => got.text.endsWith("plain -"))
      }
      assert.deepStrictEqual(sides, [])
    })
  )
})

describe("the end", { timeout: limit }, () => {
  it.live(
    "first nobody new comes in, then running requests finish, and joined connections last until the scope closes",
    () =>
      Effect.gen(function* () {
        let finish: http.ServerResponse | undefined
        const server = yield* serve(
          (_, response) => (finish = response),
          (server) =>
            server.on("upgrade", ({ socket }: http.IncomingMessage) => {
              socket.on("error", () => {})
              socket.write(accepted)
              socket.pipe(socket)
            })
        )
        const scope = yield* Scope.make()
        const { port, refuse } = yield* frontOf(server).pipe(Scope.provide(scope))
        const joined = yield* dial(port, asking("/projects/a/"))
        const running = yield* dial(port, "GET /projects/a/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        const kept = yield* dial(port, "GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n")
        const silent = yield* dial(port, "")
        yield* eventually(() => joined.got.text.length > 0 && kept.got.text.endsWith("own") && finish !== undefined)
        yield* refuse
        yield* eventually(() => kept.got.ended && silent.got.ended)
        assert.strictEqual((yield* Effect.flip(send(port))).message.includes("ECONNREFUSED"), true)
        joined.socket.write("still")
        yield* eventually(() => joined.got.text.endsWith("still"))
        assert.isFalse(running.got.ended)
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* eventually(() => joined.got.ended)
        finish?.end("done")
        yield* eventually(() => running.got.ended)
        assert.match(running.got.text, /Connection: close\r\n[^]*done/)
        yield* Fiber.join(closing)
      })
  )
})
