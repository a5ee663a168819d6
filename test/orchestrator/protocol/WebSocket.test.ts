import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import type { IncomingMessage } from "node:http"
import type { WebSocket } from "ws"
import { eventually } from "../../support/eventually.ts"
import { httpChild, wsChild } from "../support/Child.ts"
import { bytesOf, open, Refused, watchClose, type Closed } from "../support/Sockets.ts"
import { atRest, hostOn, pathOn, Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"

const suite = suites()

const echo = wsChild((socket) => socket.on("message", (data, binary) => socket.send(data, { binary })))

const urlOf = (port: number, child: { readonly port: number }, rest = "/ws") =>
  `ws://127.0.0.1:${port}${pathOn(child.port)}${rest}`

/** The other end of a client's connection, and how it was closed. */
const pair = (rest = "/ws", options: Parameters<typeof open>[1] = {}, protocols: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const accepted: Array<{ socket: WebSocket; request: IncomingMessage; closed: Effect.Effect<Closed, unknown> }> = []
    const child = yield* wsChild((socket, request) => accepted.push({ socket, request, closed: watchClose(socket) }))
    const client = yield* open(urlOf(port, child, rest), options, protocols)
    const [server] = accepted
    if (server === undefined) return yield* Effect.die(new Error("opened without a server"))
    return { client, server, child }
  })

suite("ws's own client", (it, rows) => {
  it.effect("text and binary messages stay what they are, empty ones too, in their order", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const client = yield* open(urlOf(port, yield* echo))
      const sent = [
        { data: Buffer.from("grüße 👋"), binary: false },
        { data: Buffer.from([0, 255, 13, 10, 0]), binary: true },
        { data: Buffer.alloc(0), binary: false },
        { data: Buffer.alloc(0), binary: true },
        ...[125, 126, 127, 65_535, 65_536].map((size) => ({ data: randomBytes(size), binary: true }))
      ]
      for (const { binary, data } of sent) client.socket.send(data, { binary })
      yield* eventually(Effect.sync(() => client.messages.length === sent.length))
      assert.deepStrictEqual(client.messages, sent)
    })
  )

  for (const perMessageDeflate of [false, true]) {
    it.effect(`1 MiB messages both ways at once, ${perMessageDeflate ? "compressed" : "as they are"}`, () =>
      Effect.gen(function* () {
        const { port } = yield* Subject
        const up = Array.from({ length: 4 }, () => randomBytes(1_048_576))
        const down = Array.from({ length: 4 }, () => randomBytes(1_048_576))
        const received: Array<Buffer> = []
        const child = yield* wsChild(
          (socket) => {
            socket.on("message", (data) => received.push(bytesOf(data)))
            for (const message of down) socket.send(message)
          },
          { perMessageDeflate }
        )
        const client = yield* open(urlOf(port, child), { perMessageDeflate })
        for (const message of up) client.socket.send(message)
        yield* eventually(Effect.sync(() => received.length === 4 && client.messages.length === 4))
        assert.isTrue(up.every((message, at) => received[at]?.equals(message)))
        assert.isTrue(down.every((message, at) => client.messages[at]?.data.equals(message)))
      })
    )
  }

  it.effect("permessage-deflate is negotiated between the ends, and what is sent is smaller than the message", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const accepted: Array<{ extensions: string; offered: string | undefined }> = []
      const child = yield* wsChild(
        (socket, request) => {
          accepted.push({
            extensions: socket.extensions,
            offered: request.headers["sec-websocket-extensions"]
          })
          socket.on("message", (data, binary) => socket.send(data, { binary }))
        },
        { perMessageDeflate: { threshold: 0 } }
      )
      const client = yield* open(urlOf(port, child), { perMessageDeflate: { threshold: 0 } })
      assert.match(accepted[0]?.offered ?? "", /^permessage-deflate; client_max_window_bits/)
      assert.strictEqual(accepted[0]?.extensions, "permessage-deflate")
      assert.strictEqual(client.socket.extensions, "permessage-deflate")
      assert.match(String(client.response.headers["sec-websocket-extensions"]), /^permessage-deflate/)
      const text = "the same again ".repeat(70_000)
      const before = client.response.socket.bytesRead
      client.socket.send(text)
      yield* eventually(Effect.sync(() => client.messages.length === 1))
      assert.strictEqual(client.messages[0]?.data.toString(), text)
      assert.isBelow(client.response.socket.bytesRead - before, text.length / 20)
      assert.isBelow(client.response.socket.bytesWritten, text.length / 20)
    })
  )

  it.effect("a child without permessage-deflate is not made to speak it", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* wsChild((socket) => socket.on("message", (data) => socket.send(data)), {
        perMessageDeflate: false
      })
      const client = yield* open(urlOf(port, child), { perMessageDeflate: true })
      assert.strictEqual(client.socket.extensions, "")
      client.socket.send("x".repeat(10_000))
      yield* eventually(Effect.sync(() => client.messages.length === 1))
      assert.strictEqual(client.messages[0]?.data.length, 10_000)
    })
  )

  it.effect("pings and pongs of both sides arrive with their data, and nobody answers for the other", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair("/ws", { autoPong: false })
      const seen: Array<string> = []
      server.socket.on("ping", (data) => seen.push(`ping ${data.toString()}`))
      server.socket.on("pong", (data) => seen.push(`pong ${data.toString()}`))
      server.socket.ping("are you there")
      yield* eventually(Effect.sync(() => client.pings.length === 1))
      client.socket.ping("and you")
      yield* eventually(Effect.sync(() => client.pongs.length === 1))
      client.socket.pong("unasked")
      yield* eventually(Effect.sync(() => seen.length === 2))
      assert.deepStrictEqual(client.pings, ["are you there"])
      assert.deepStrictEqual(client.pongs, ["and you"])
      assert.deepStrictEqual(seen, ["ping and you", "pong unasked"])
    })
  )

  const closes = { 1000: "done", 1001: "going away", 1011: "it broke", 4000: "", 4999: "grüße".repeat(17) }
  for (const [name, reason] of rows(closes)) {
    const code = Number(name)
    it.effect(`close ${code} arrives with its reason, from either side`, () =>
      Effect.gen(function* () {
        const first = yield* pair()
        const closedFirst = watchClose(first.client.socket)
        first.client.socket.close(code, reason)
        assert.deepStrictEqual(yield* first.server.closed, { code, reason })
        assert.deepStrictEqual(yield* closedFirst, { code, reason })
        const second = yield* pair()
        const closedSecond = watchClose(second.client.socket)
        second.server.socket.close(code, reason)
        assert.deepStrictEqual(yield* closedSecond, { code, reason })
        assert.deepStrictEqual(yield* second.server.closed, { code, reason })
      })
    )
  }

  it.effect("a close without a code is 1005 on both sides", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const closed = watchClose(client.socket)
      client.socket.close()
      assert.deepStrictEqual(yield* server.closed, { code: 1005, reason: "" })
      assert.deepStrictEqual(yield* closed, { code: 1005, reason: "" })
    })
  )

  it.effect("a side that is cut is 1006 for the other, whichever it is", () =>
    Effect.gen(function* () {
      const first = yield* pair()
      first.client.socket.terminate()
      assert.strictEqual((yield* first.server.closed).code, 1006)
      const second = yield* pair()
      const closed = watchClose(second.client.socket)
      second.server.socket.terminate()
      assert.strictEqual((yield* closed).code, 1006)
      const third = yield* pair()
      const reset = watchClose(third.client.socket)
      for (const socket of third.child.sockets) socket.resetAndDestroy()
      assert.strictEqual((yield* reset).code, 1006)
    })
  )

  it.effect("messages sent right before a close arrive before it", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const closed = watchClose(client.socket)
      for (let i = 0; i < 50; i++) server.socket.send(Buffer.alloc(65_536, i))
      server.socket.close(1001, "restart")
      assert.deepStrictEqual(yield* closed, { code: 1001, reason: "restart" })
      assert.deepStrictEqual(
        client.messages.map(({ data }) => [data.length, data[0]]),
        Array.from({ length: 50 }, (_, i) => [65_536, i])
      )
    })
  )

  it.effect("the child chooses the subprotocol", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const offered: Array<ReadonlyArray<string>> = []
      const child = yield* wsChild(() => {}, {
        handleProtocols: (protocols) => {
          offered.push([...protocols])
          return "v2.json"
        }
      })
      const client = yield* open(urlOf(port, child), {}, ["v1.json", "v2.json", "token.abc"])
      assert.deepStrictEqual(offered, [["v1.json", "v2.json", "token.abc"]])
      assert.strictEqual(client.socket.protocol, "v2.json")
    })
  )

  it.effect("path, query and headers reach the child", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const requests: Array<IncomingMessage> = []
      const child = yield* httpChild(
        () => {},
        (server) => {
          server.on("upgrade", (request: IncomingMessage, socket) => {
            requests.push(request)
            socket.end()
          })
        }
      )
      const headers = {
        authorization: "Bearer t",
        cookie: "a=1; b=2",
        origin: "https://app.example",
        "x-custom": "a, b"
      }
      const query = "/a%2Fb//c/?x=1&y=%20z&x=2&&=?"
      yield* Effect.flip(open(urlOf(port, child, query), { headers }))
      yield* eventually(Effect.sync(() => requests.length === 1))
      const seen = requests[0]
      assert.strictEqual(seen?.url, query)
      assert.strictEqual(seen?.headers["x-forwarded-prefix"], pathOn(child.port))
      for (const [name, value] of Object.entries(headers)) assert.strictEqual(seen?.headers[name], value)
      assert.strictEqual(seen?.headers.host, `127.0.0.1:${port}`)
      assert.strictEqual(seen?.headers.upgrade, "websocket")
      assert.strictEqual(seen?.headers.connection?.toLowerCase(), "upgrade")
    })
  )

  it.effect("by subdomain the whole path is the child's", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const urls: Array<string | undefined> = []
      const child = yield* wsChild((_, request) => {
        urls.push(request.url, String(request.headers["x-forwarded-prefix"]), request.headers.host)
      })
      const host = `${hostOn(child.port)}:${port}`
      yield* open(`ws://127.0.0.1:${port}/projects/other/ws?x=1`, { headers: { host } })
      assert.deepStrictEqual(urls, ["/projects/other/ws?x=1", "undefined", host])
    })
  )

  it.effect("a refusal reaches the client with its status, headers and body", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* httpChild(
        () => {},
        (server) => {
          server.on("upgrade", (_, socket) => {
            const body = JSON.stringify({ why: "no token" })
            socket.end(
              "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" +
                `X-Custom: yes\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
            )
          })
        }
      )
      const refused = yield* Effect.flip(open(urlOf(port, child)))
      assert.instanceOf(refused, Refused)
      if (!(refused instanceof Refused)) return
      assert.strictEqual(refused.status, 401)
      assert.strictEqual(refused.headers["www-authenticate"], "Bearer realm=x")
      assert.deepStrictEqual(refused.headers["set-cookie"], ["a=1", "b=2"])
      assert.strictEqual(refused.headers["x-custom"], "yes")
      assert.strictEqual(refused.body, `{"why":"no token"}`)
    })
  )

  it.effect("a child without WebSockets refuses by its own answer, and a dead one by 502, 503 or 504", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const plain = yield* httpChild((_, response) => void response.writeHead(404).end("none here"))
      const refused = yield* Effect.flip(open(urlOf(port, plain)))
      assert.deepInclude(refused, { status: 404, body: "none here" })
      const { port: dead } = yield* Effect.scoped(httpChild(() => {}))
      const failed = yield* Effect.flip(open(urlOf(port, { port: dead })))
      assert.instanceOf(failed, Refused)
      if (failed instanceof Refused) assert.include([502, 503, 504], failed.status)
    })
  )

  it.effect("500 opened and closed leave no socket and no use", () =>
    Effect.gen(function* () {
      const { held, port } = yield* Subject
      const child = yield* echo
      const count = 500
      yield* Effect.scoped(
        Effect.gen(function* () {
          const clients = yield* Effect.all(
            Array.from({ length: count }, () => open(urlOf(port, child))),
            { concurrency: 50 }
          )
          for (const { socket } of clients) socket.send("x")
          yield* eventually(Effect.sync(() => clients.every(({ messages }) => messages.length === 1)))
          const during = yield* held
          assert.strictEqual(during.inUse, count)
          assert.isAtLeast(during.sockets, 2 * count)
          // Ended in each of the ways that there are.
          for (const [at, { socket }] of clients.entries()) {
            if (at % 3 === 0) socket.close(1000)
            else if (at % 3 === 1) socket.terminate()
          }
          const third = [...child.sockets].slice(0, 5)
          for (const socket of third) socket.destroy()
        })
      )
      yield* eventually(Effect.sync(() => child.sockets.size === 0))
      yield* atRest
    })
  )
})
