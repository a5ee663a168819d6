import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import type { Socket } from "node:net"
import { eventually } from "../../support/eventually.ts"
import { answersIn, header } from "../support/Answers.ts"
import { httpChild, rawChild } from "../support/Child.ts"
import { encode, opcodes, upgradeAnswer, upgradeRequest } from "../support/Frames.ts"
import { hostOn, Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"
import { dial, wire, type Wire } from "../support/Wire.ts"

const suite = suites()

const headEnd = (text: string) => text.indexOf("\r\n\r\n") + 4
const behindHead = (text: string) => text.slice(headEnd(text))

/** Both ends as bytes: the request at the child, and nothing answered yet. */
const asked = (behind = "", more: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const accepted: Array<Wire> = []
    const child = yield* rawChild((socket) => accepted.push(wire(socket)))
    const client = yield* dial(port)
    client.send(upgradeRequest("/ws", hostOn(child.port), more) + behind)
    yield* eventually(Effect.sync(() => (accepted[0]?.text() ?? "").includes("\r\n\r\n")))
    const [server] = accepted
    if (server === undefined) return yield* Effect.die(new Error("no connection"))
    return { client, server, child }
  })

const upgraded = Effect.gen(function* () {
  const ends = yield* asked()
  ends.server.send(upgradeAnswer())
  yield* ends.client.until((text) => text.includes("\r\n\r\n"))
  return ends
})

/** Frames as a sender with taste for the unusual would send them. */
const conversation = (mask: boolean) =>
  Buffer.concat([
    encode({ fin: false, opcode: opcodes.text, payload: Buffer.from("in ") }, mask),
    encode({ fin: true, opcode: opcodes.ping, payload: Buffer.from("between") }, mask),
    encode({ fin: false, opcode: opcodes.continuation, payload: Buffer.alloc(0) }, mask),
    encode({ fin: true, opcode: opcodes.pong, payload: Buffer.alloc(125, 7) }, mask),
    encode({ fin: true, opcode: opcodes.continuation, payload: Buffer.from("pieces") }, mask),
    encode({ fin: false, opcode: opcodes.binary, payload: randomBytes(70_000) }, mask),
    encode({ fin: true, opcode: opcodes.continuation, payload: randomBytes(1_048_576) }, mask),
    encode({ fin: true, opcode: opcodes.close, payload: Buffer.from([0x0f, 0xa0, 0x78]) }, mask)
  ])

suite("WebSocket bytes", (it) => {
  it.effect("fragments and control frames between them pass unchanged, both ways", () =>
    Effect.gen(function* () {
      const { client, server } = yield* upgraded
      const up = conversation(true).toString("latin1")
      const down = conversation(false).toString("latin1")
      client.send(up)
      server.send(down)
      yield* server.until((text) => behindHead(text).length >= up.length)
      yield* client.until((text) => behindHead(text).length >= down.length)
      assert.isTrue(behindHead(server.text()) === up)
      assert.isTrue(behindHead(client.text()) === down)
    })
  )

  it.effect("each byte sent on its own arrives", () =>
    Effect.gen(function* () {
      const { client, server } = yield* upgraded
      const frame = encode({ fin: true, opcode: opcodes.text, payload: Buffer.from("one by one") }, true)
      let sent = ""
      for (const byte of frame) {
        sent += String.fromCharCode(byte)
        client.send(Buffer.from([byte]))
        yield* server.until((text) => behindHead(text) === sent)
      }
    })
  )

  it.effect("what the client sends right behind its request reaches the child, once", () =>
    Effect.gen(function* () {
      const early = encode({ fin: true, opcode: opcodes.text, payload: Buffer.from("early") }, true).toString("latin1")
      const { client, server } = yield* asked(early)
      client.send(early)
      server.send(upgradeAnswer())
      yield* client.until((text) => text.includes("\r\n\r\n"))
      client.send(early)
      yield* server.until((text) => behindHead(text).length >= 3 * early.length)
      assert.strictEqual(behindHead(server.text()), early.repeat(3))
    })
  )

  it.effect("300 KB behind the request reach the child, though it answers only afterwards", () =>
    Effect.gen(function* () {
      const early = randomBytes(300_000).toString("latin1")
      const { client, server } = yield* asked(early)
      server.send(upgradeAnswer())
      yield* server.until((text) => behindHead(text).length >= early.length)
      assert.isTrue(behindHead(server.text()) === early)
      assert.include(client.text(), "101 Switching Protocols")
    })
  )

  it.effect("what the child sends in the same packet as its 101 reaches the client", () =>
    Effect.gen(function* () {
      const { client, server } = yield* asked()
      const greeting = encode({ fin: true, opcode: opcodes.text, payload: Buffer.from("hello") }, false)
      server.send(upgradeAnswer() + greeting.toString("latin1"))
      yield* client.until((text) => behindHead(text) === greeting.toString("latin1"))
    })
  )

  it.effect("the request at the child is a WebSocket's, with one Host, one Upgrade and one Connection", () =>
    Effect.gen(function* () {
      const { server } = yield* asked("", [
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Connection: keep-alive",
        "X-Twice: 1",
        "X-Twice: 2"
      ])
      const lines = server.text().split("\r\n")
      assert.strictEqual(lines[0], "GET /ws HTTP/1.1")
      const named = (name: string) => lines.filter((line) => line.toLowerCase().startsWith(`${name}:`))
      assert.deepStrictEqual(named("x-twice"), ["X-Twice: 1", "X-Twice: 2"])
      assert.deepStrictEqual(named("sec-websocket-protocol"), ["Sec-WebSocket-Protocol: a, b"])
      assert.strictEqual(named("sec-websocket-extensions").length, 1)
      for (const name of ["host", "upgrade", "connection"]) assert.strictEqual(named(name).length, 1)
      for (const name of ["keep-alive", "te", "proxy-connection", "content-length", "transfer-encoding"]) {
        assert.deepStrictEqual(named(name), [])
      }
    })
  )

  it.effect("the head of the child's 101 reaches the client with all its headers", () =>
    Effect.gen(function* () {
      const { client, server } = yield* asked()
      server.send(upgradeAnswer(["Set-Cookie: a=1", "Set-Cookie: b=2", "X-Served-By: me"]))
      const text = yield* client.until((text) => text.includes("\r\n\r\n"))
      const [answer] = answersIn(text)
      assert.strictEqual(answer?.status, 101)
      assert.deepStrictEqual(
        answer?.headers.filter(([name]) => name === "set-cookie"),
        [
          ["set-cookie", "a=1"],
          ["set-cookie", "b=2"]
        ]
      )
      if (answer === undefined) return
      assert.strictEqual(header(answer, "x-served-by"), "me")
      assert.strictEqual(header(answer, "upgrade")?.toLowerCase(), "websocket")
      assert.strictEqual(header(answer, "connection")?.toLowerCase(), "upgrade")
    })
  )

  it.effect("a client that has ended still gets what the child sends, and the other way round", () =>
    Effect.gen(function* () {
      const first = yield* upgraded
      first.client.send("last words")
      first.client.socket.end()
      assert.strictEqual(behindHead((yield* first.server.over).text), "last words")
      first.server.send("and mine")
      yield* first.client.until((text) => behindHead(text) === "and mine")
      first.server.socket.end()
      assert.isTrue((yield* first.client.over).clean)

      const second = yield* upgraded
      second.server.send("last words")
      second.server.socket.end()
      assert.strictEqual(behindHead((yield* second.client.over).text), "last words")
      second.client.send("and mine")
      yield* second.server.until((text) => behindHead(text) === "and mine")
      second.client.socket.end()
      assert.isTrue((yield* second.server.over).clean)
    })
  )

  it.effect("a client that goes away before the answer ends its request at the child", () =>
    Effect.gen(function* () {
      const { client, server } = yield* asked()
      client.socket.destroy()
      yield* server.over
    })
  )

  it.effect("behind a refusal nothing of what the client sent reaches the child, and the connection closes", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const requests: Array<string> = []
      const child = yield* httpChild(
        (request, response) => {
          requests.push(`${request.method} ${request.url}`)
          response.end("served")
        },
        (server) =>
          server.on("upgrade", (request, socket) => {
            requests.push(`upgrade ${request.url}`)
            // Leaves its connection open, as a server that goes on speaking HTTP would.
            socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            socket.on("data", (chunk: Buffer) => requests.push(chunk.toString("latin1")))
          })
      )
      const client = yield* dial(port)
      const host = hostOn(child.port)
      client.send(
        `${upgradeRequest("/ws", host)}GET /internal/secret HTTP/1.1\r\nHost: ${host}\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`
      )
      const { text } = yield* client.over
      assert.deepInclude(answersIn(text)[0], { status: 403, body: "no" })
      assert.strictEqual(answersIn(text).length, 1)
      assert.deepStrictEqual(requests, ["upgrade /ws"])
    })
  )

  it.effect("an answer of 200 to an upgrade is an answer, and no tunnel", () =>
    Effect.gen(function* () {
      const { client, server } = yield* asked()
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      yield* client.until((text) => text.endsWith("ok"))
      client.send("GET /internal/secret HTTP/1.1\r\nHost: x\r\n\r\n")
      const { text } = yield* client.over
      assert.strictEqual(answersIn(text).filter(({ status }) => status === 200).length, 1)
      assert.notInclude(server.text(), "secret")
    })
  )

  it.effect("a WebSocket request with a body is no upgrade at the child", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const seen: Array<string> = []
      const child = yield* httpChild(
        (request, response) => {
          request.on("data", (chunk: Buffer) => seen.push(chunk.toString()))
          request.on("end", () => response.end("plain"))
        },
        (server) =>
          server.on("upgrade", (_, socket: Socket) => {
            seen.push("upgraded")
            socket.destroy()
          })
      )
      const client = yield* dial(port)
      const body = "GET /internal/secret HTTP/1.1\r\n\r\n"
      client.send(upgradeRequest("/ws", hostOn(child.port), [`Content-Length: ${body.length}`]) + body)
      const text = yield* client.until((text) => text.includes("\r\n\r\n"))
      assert.notInclude(text, "101")
      assert.notInclude(seen, "upgraded")
      assert.isTrue(seen.length === 0 || seen.join("") === body)
    })
  )
})
