/** Connections that are kept to a server, whatever it does with them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as net from "node:net"
import { eventually, frontOf, raw, send, serve, settled } from "./support.ts"

const limit = 60_000

interface Asked {
  readonly socket: net.Socket
  /** Of the connections, and of the requests on this one; both from 0. */
  readonly connection: number
  readonly nth: number
  readonly text: string
}

/** A server that writes what it likes; each packet that it gets is a request. */
const played = (answer: (asked: Asked) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<net.Server>((resume) => {
        let connections = 0
        const server = net.createServer((socket) => {
          const connection = connections++
          let nth = 0
          socket.on("error", () => {})
          socket.on("data", (chunk) => answer({ socket, connection, nth: nth++, text: chunk.toString("latin1") }))
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => {
      const address = server.address()
      return address !== null && typeof address === "object" ? address.port : 0
    }
  )

const plain = (body: string, more = "") => `HTTP/1.1 200 OK\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`
const path = "/projects/a/"

describe("a kept connection", { timeout: limit }, () => {
  it.live("stays after an answer in chunks, with trailers too", () =>
    Effect.gen(function* () {
      const sockets: Array<net.Socket> = []
      const server = yield* serve(
        (request, response) => {
          response.setHeader("trailer", "x-end")
          response.write(`${sockets.indexOf(request.socket)} `)
          response.addTrailers({ "x-end": "yes" })
          response.end("in chunks")
        },
        (server) => server.on("connection", (socket: net.Socket) => sockets.push(socket))
      )
      const { open, port } = yield* frontOf(server)
      for (let time = 0; time < 3; time++) {
        const { body, trailers } = yield* send(port, { path })
        assert.deepStrictEqual([body, trailers["x-end"]], ["0 in chunks", "yes"])
      }
      yield* eventually(() => open() === 0)
    })
  )

  it.live("stays after HEAD and an answer without a body", () =>
    Effect.gen(function* () {
      const server = yield* played(({ connection, socket, text }) => {
        if (text.startsWith("HEAD")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        else if (text.includes("/none")) socket.write("HTTP/1.1 204 No Content\r\n\r\n")
        else socket.write(plain(String(connection)))
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { method: "HEAD", path })).headers["content-length"], "7")
      assert.strictEqual((yield* send(port, { path: `${path}none` })).status, 204)
      assert.strictEqual((yield* send(port, { path })).body, "0")
    })
  )

  it.live("may bring its answer byte by byte", () =>
    Effect.gen(function* () {
      const server = yield* played(({ nth, socket }) => {
        const bytes = plain(`answer ${nth}`)
        let at = 0
        socket.setNoDelay(true)
        const next = () => {
          if (at < bytes.length) socket.write(bytes[at++] ?? "", () => setImmediate(next))
        }
        next()
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { path })).body, "answer 0")
      assert.strictEqual((yield* send(port, { path })).body, "answer 1")
    })
  )

  it.live("ends where more came than the answer: it is nobody's answer", () =>
    Effect.gen(function* () {
      const server = yield* played(({ connection, socket }) => {
        socket.write(plain(`right ${connection}`) + plain("wrong"))
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { path })).body, "right 0")
      assert.strictEqual((yield* send(port, { path })).body, "right 1")
    })
  )

  it.live("ends when its server speaks unasked", () =>
    Effect.gen(function* () {
      let first: net.Socket | undefined
      const server = yield* played(({ connection, socket }) => {
        first ??= socket
        socket.write(plain(`right ${connection}`))
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { path })).body, "right 0")
      first?.write(plain("wrong"))
      yield* eventually(() => first?.closed === true)
      assert.strictEqual((yield* send(port, { path })).body, "right 1")
    })
  )

  it.live("is not used again where its server keeps it no longer than the margin", () =>
    Effect.gen(function* () {
      const server = yield* played(({ connection, socket }) => {
        socket.write(plain(String(connection), "Keep-Alive: timeout=1\r\n"))
      })
      const { port } = yield* frontOf(server)
      assert.strictEqual((yield* send(port, { path })).body, "0")
      assert.strictEqual((yield* send(port, { path })).body, "1")
    })
  )

  it.live("that ends within a body cuts the client's answer", () =>
    Effect.gen(function* () {
      const server = yield* played(({ socket }) => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!", () => socket.end())
      })
      const { open, port } = yield* frontOf(server)
      const text = yield* raw(port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n[^]*Content-Length: 10\r\n[^]*\r\n\r\nhalf!$/)
      yield* eventually(() => open() === 0)
    })
  )

  it.live("ends with a client that goes away before or within its answer", () =>
    Effect.gen(function* () {
      const sockets: Array<net.Socket> = []
      const server = yield* played(({ socket, text }) => {
        sockets.push(socket)
        if (text.includes("/begun")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
      })
      const { open, port } = yield* frontOf(server)
      for (const where of ["silent", "begun"]) {
        const client = net.connect(port, "127.0.0.1")
        client.on("error", () => {}).write(`GET ${path}${where} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
        const count = sockets.length + 1
        yield* eventually(() => sockets.length === count && open() === 1)
        client.destroy()
        yield* eventually(() => sockets.every(({ closed }) => closed) && open() === 0)
      }
    })
  )

  it.live("holds its server back for a client that does not read", () =>
    Effect.gen(function* () {
      const size = 64 * 1024 * 1024
      let sent = 0
      const server = yield* played(({ socket }) => {
        const part = Buffer.alloc(64 * 1024)
        const pump = () => {
          while (sent < size) {
            sent += part.length
            if (!socket.write(part)) return
          }
        }
        socket.on("drain", pump).write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
        pump()
      })
      const { port } = yield* frontOf(server)
      const client = net.connect(port, "127.0.0.1").pause()
      client.on("error", () => {}).write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      yield* eventually(() => sent > 0)
      assert.isBelow(yield* settled(() => sent), size / 2)
      let got = 0
      client.on("data", (chunk) => (got += chunk.length)).resume()
      yield* eventually(() => got > size && client.closed)
    })
  )
})

describe("an upgrade that its server has not answered", { timeout: limit }, () => {
  const upgrade = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`

  it.live("ends with 502 when the server closes, at once or within its head", () =>
    Effect.gen(function* () {
      for (const begun of ["", "HTTP/1.1 101 Swit"]) {
        const server = yield* played(({ socket }) => socket.end(begun))
        const { open, port } = yield* frontOf(server, { config: { responseTimeoutMs: 20_000 } })
        assert.match(yield* raw(port, upgrade), /^HTTP\/1\.1 502 /)
        yield* eventually(() => open() === 0)
      }
    })
  )

  it.live("ends at the server when the client goes away", () =>
    Effect.gen(function* () {
      const sockets: Array<net.Socket> = []
      const server = yield* played(({ socket }) => sockets.push(socket))
      const { open, port } = yield* frontOf(server)
      const client = net.connect(port, "127.0.0.1")
      client.on("error", () => {}).write(upgrade)
      yield* eventually(() => sockets.length === 1 && open() === 1)
      client.destroy()
      yield* eventually(() => sockets.every(({ closed }) => closed) && open() === 0)
    })
  )

  it.live("leaves no connection where the server refuses and keeps it", () =>
    Effect.gen(function* () {
      const sockets: Array<net.Socket> = []
      const server = yield* played(({ socket }) => {
        sockets.push(socket)
        socket.write(plain("no"))
      })
      const { open, port } = yield* frontOf(server)
      assert.match(yield* raw(port, upgrade), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nno$/)
      yield* eventually(() => sockets.length === 1 && sockets.every(({ closed }) => closed) && open() === 0)
    })
  )
})
