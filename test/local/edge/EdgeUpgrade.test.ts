import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as net from "node:net"
import type { IncomingMessage } from "node:http"
import { WebSocket, WebSocketServer } from "ws"
import { edge, eventually, fakeMachines, plane, projectApp, raw, router, routerApp, serve, settled } from "./support.ts"

const toMachine = `instance=m1;app=${projectApp}`

/** Echoes messages; tells its request's headers first. */
const echo = (onSocket: (socket: WebSocket, request: IncomingMessage) => void = () => {}) =>
  serve(
    (_, response) => response.writeHead(426).end("upgrade required"),
    (server) => {
      const sockets = new WebSocketServer({ server, perMessageDeflate: true })
      sockets.on("connection", (socket, request) => {
        socket.on("error", () => {})
        socket.send(JSON.stringify({ url: request.url, headers: request.headers }))
        socket.on("message", (data, binary) => socket.send(data, { binary }))
        onSocket(socket, request)
      })
    }
  )

interface Opened {
  readonly socket: WebSocket
  readonly messages: Array<string>
}

const open = (
  port: number,
  path = "/ws",
  protocols: ReadonlyArray<string> = []
): Effect.Effect<Opened, string, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Opened, string>((resume) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, [...protocols])
      const messages: Array<string> = []
      socket.on("message", (data: Buffer) => messages.push(data.length > 1000 ? String(data.length) : data.toString()))
      socket.on("error", (error) => resume(Effect.fail(error.message)))
      socket.on("unexpected-response", (_, response) => {
        const status = String(response.statusCode)
        let body = ""
        response.on("data", (chunk: Buffer) => (body += chunk.toString()))
        response.on("end", () => resume(Effect.fail(`${status} ${body}`)))
      })
      socket.on("open", () => resume(Effect.succeed({ socket, messages })))
    }),
    ({ socket }) => Effect.sync(() => socket.terminate())
  )

const closed = ({ socket }: Opened) =>
  Effect.callback<number>((resume) => {
    if (socket.readyState === WebSocket.CLOSED) return resume(Effect.succeed(-1))
    socket.once("close", (code) => resume(Effect.succeed(code)))
    return undefined
  })

describe("upgrades", () => {
  it.live("are replayed, woken for, and joined both ways", () =>
    Effect.gen(function* () {
      const port = yield* echo()
      const machines = fakeMachines(() => Effect.succeed({ state: "started", port }))
      machines.put({ id: "m1", state: "suspended", port })
      const { port: at } = yield* edge([plane(yield* router(`${toMachine};state=s`))], machines)
      const client = yield* open(at, "/ws?doc=1", ["v1"])
      assert.strictEqual(client.socket.protocol, "v1")
      client.socket.send("one")
      client.socket.send(Buffer.alloc(3_000_000))
      client.socket.send("two")
      yield* eventually(() => client.messages.length === 4)
      const first: { url: string; headers: Record<string, string> } = JSON.parse(client.messages[0] ?? "")
      assert.strictEqual(first.url, "/ws?doc=1")
      assert.match(String(first.headers["fly-replay-src"]), /^instance=plane1;region=local;t=\d+;state=s$/)
      assert.strictEqual(first.headers["fly-client-ip"], "127.0.0.1")
      assert.deepStrictEqual(client.messages.slice(1), ["one", "3000000", "two"])
      client.socket.close(4001)
      assert.strictEqual(yield* closed(client), 4001)
      assert.deepStrictEqual(machines.started, ["m1"])
    })
  )

  it.live("bounce as requests do", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* router(`app=${routerApp};state=stale`) })
      machines.put({ id: "m2", port: yield* echo() })
      const at = yield* router((request) =>
        String(request.headers["fly-replay-src"]).endsWith("state=stale") ? `instance=m2;app=${projectApp}` : toMachine
      )
      const { port } = yield* edge([plane(at)], machines)
      const client = yield* open(port)
      client.socket.send("x")
      yield* eventually(() => client.messages.length === 2)
    })
  )

  it.live("refused by the target, by the router or by the edge: the answer is the client's", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* serve((_, response) => response.writeHead(403).end("not you")) })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      assert.strictEqual(yield* Effect.flip(open(port)), "403 not you")
      const own = yield* edge([plane(yield* serve((_, response) => response.writeHead(404).end("none")))])
      assert.strictEqual(yield* Effect.flip(open(own.port)), "404 none")
      const lost = yield* edge([plane(yield* router(`app=${projectApp};instance=gone`))])
      assert.match(yield* Effect.flip(open(lost.port)), /^502 \[PR02\]/)
    })
  )

  it.live("do not hold up the end of the scope", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* echo() })
      const scope = yield* Scope.make()
      const planes = [plane(yield* router(toMachine))]
      const { port } = yield* edge(planes, machines, { drainGrace: "1 hour" }).pipe(Scope.provide(scope))
      const client = yield* open(port)
      yield* Scope.close(scope, Exit.void)
      yield* closed(client)
    })
  )

  it.live("an upgrade by the router itself is joined too", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([plane(yield* echo())])
      const client = yield* open(port)
      client.socket.send("x")
      yield* eventually(() => client.messages[1] === "x")
    })
  )

  it.live("a machine that dies, a client that vanishes and dropped connections end both sides and nothing else", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const servers: Array<WebSocket> = []
      const requests: Array<IncomingMessage> = []
      const at = yield* echo((socket, request) => {
        servers.push(socket)
        requests.push(request)
      })
      machines.put({ id: "m1", port: at })
      const { drop, port } = yield* edge([plane(yield* router(toMachine))], machines)

      const first = yield* open(port)
      yield* eventually(() => requests.length === 1)
      requests[0]?.socket.resetAndDestroy()
      assert.strictEqual(yield* closed(first), 1006)

      const second = yield* open(port)
      yield* eventually(() => servers.length === 2)
      second.socket.terminate()
      yield* eventually(() => servers[1]?.readyState === WebSocket.CLOSED)

      const many = yield* Effect.all(Array.from({ length: 20 }, () => open(port)))
      yield* eventually(() => servers.length === 22)
      assert.strictEqual(yield* drop(0), 0)
      const dropped = yield* drop(0.5)
      assert.isAbove(dropped, 0)
      assert.isBelow(dropped, 20)
      yield* eventually(() => servers.filter(({ readyState }) => readyState === WebSocket.OPEN).length === 20 - dropped)
      yield* eventually(() => many.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length === 20 - dropped)
      assert.strictEqual(yield* drop(1), 20 - dropped)
      yield* eventually(() => servers.every(({ readyState }) => readyState === WebSocket.CLOSED))
      const last = yield* open(port)
      last.socket.send("still here")
      yield* eventually(() => last.messages[1] === "still here")
    })
  )
})

/** A server that speaks bytes after its 101. */
const bytes = (speak: (socket: net.Socket, head: Buffer) => void) =>
  serve(
    () => {},
    (server) => {
      server.on("upgrade", (_: IncomingMessage, socket: net.Socket, head: Buffer) => {
        socket.on("error", () => {})
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\nX-Own: 1\r\n\r\n")
        speak(socket, head)
      })
    }
  )
const upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"

describe("joined connections", () => {
  it.live("end one direction at a time", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      let got = ""
      const at = yield* bytes((socket, head) => {
        got = head.toString()
        socket.on("data", (chunk: Buffer) => (got += chunk.toString()))
        // Answers only after the client has ended its direction.
        socket.on("end", () => socket.end(`heard ${got.length}`))
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const text = yield* Effect.callback<string>((resume) => {
        let text = ""
        const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
        socket.on("error", () => {})
        socket.on("data", (chunk) => (text += chunk.toString()))
        socket.on("close", () => resume(Effect.succeed(text)))
        socket.once("data", () => socket.end("x".repeat(500_000)))
        socket.write(`${upgrade}early `)
      })
      assert.match(text, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
      assert.match(text, /X-Own: 1/)
      assert.match(text, /Fly-Request-Id: /)
      assert.isTrue(text.endsWith("heard 500006"))
    })
  )

  it.live("the server may end first while the client goes on", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const heard = yield* Deferred.make<number>()
      const at = yield* bytes((socket) => {
        let size = 0
        socket.on("data", (chunk: Buffer) => (size += chunk.length))
        socket.on("end", () => Deferred.doneUnsafe(heard, Exit.succeed(size)))
        socket.end("bye")
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
      socket.on("error", () => {})
      socket.resume()
      socket.on("end", () => socket.end("x".repeat(2_000_000)))
      socket.write(upgrade)
      assert.strictEqual(yield* Deferred.await(heard), 2_000_000)
    })
  )

  it.live("a slow reader holds the sender back", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      let server: net.Socket | undefined
      const total = 64 * 1024 * 1024
      const at = yield* bytes((socket) => {
        server = socket
        for (let sent = 0; sent < total; sent += 1024 * 1024) socket.write(Buffer.alloc(1024 * 1024))
        socket.end()
      })
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const client = net.connect({ host: "127.0.0.1", port })
      client.on("error", () => {})
      client.pause()
      client.write(upgrade)
      yield* eventually(() => (server?.bytesWritten ?? 0) > 0)
      assert.isAbove(yield* settled(() => server?.writableLength ?? 0), total / 2)
      let received = 0
      client.on("data", (chunk: Buffer) => (received += chunk.length))
      client.resume()
      yield* eventually(() => received >= total)
    })
  )

  it.live("a request with a body and an Upgrade header is an ordinary request", () =>
    Effect.gen(function* () {
      const { port } = yield* edge([plane(yield* serve((request, response) => request.pipe(response)))])
      const text = yield* raw(
        port,
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
      )
      assert.match(text, /^HTTP\/1\.1 200 /)
      assert.include(text, "abc")
    })
  )

  it.live("a client that leaves while its upgrade waits takes its request along", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const arrived = yield* Deferred.make<void>()
      const gone = yield* Deferred.make<void>()
      const at = yield* serve(
        () => {},
        (server) => {
          server.on("upgrade", (_: IncomingMessage, socket: net.Socket) => {
            socket.resume()
            socket.on("error", () => {})
            socket.on("end", () => Deferred.doneUnsafe(gone, Exit.void))
            Deferred.doneUnsafe(arrived, Exit.void)
          })
        }
      )
      machines.put({ id: "m1", port: at })
      const { port } = yield* edge([plane(yield* router(toMachine))], machines)
      const waiting = yield* Effect.forkChild(raw(port, upgrade))
      yield* Deferred.await(arrived)
      yield* Fiber.interrupt(waiting)
      yield* Deferred.await(gone)
    })
  )
})
