/** What a probe makes of what it meets. */
import { createServer as createHttpServer } from "node:http"
import type { Server, Socket } from "node:net"
import { createServer } from "node:net"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { probe } from "../../../src/orchestrator/process/Probe.ts"

const listening = (server: Server) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () => Effect.sync(() => server.close())
  )

/** Does this with each connection; `open` counts them. */
const raw = (serve: (socket: Socket) => void) =>
  Effect.gen(function* () {
    const open = new Set<Socket>()
    const server = createServer((socket) => {
      open.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => open.delete(socket))
      serve(socket)
    })
    return { port: yield* listening(server), open }
  })

const long = 30_000

it.live.each([
  ...[200, 204, 301, 304].map((status) => ({ status, tag: "Healthy" })),
  ...[400, 401, 403, 404, 405, 426, 501].map((status) => ({ status, tag: "Listening" })),
  ...[408, 429, 500, 502, 503].map((status) => ({ status, tag: "Unhealthy" }))
])("$status is $tag", ({ status, tag }) =>
  Effect.gen(function* () {
    const port = yield* listening(createHttpServer((_request, response) => response.writeHead(status).end()))
    const answer = yield* probe(port, "/health", long)
    assert.strictEqual(answer._tag, tag)
    if (answer._tag === "Unhealthy") assert.strictEqual(answer.detail, `health path answered ${status}`)
  }).pipe(Effect.scoped)
)

it.live("asks for the path, once, and keeps no connection", () =>
  Effect.gen(function* () {
    const asked: Array<string | undefined> = []
    const server = createHttpServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers.connection}`)
      response.end()
    })
    const port = yield* listening(server)
    yield* probe(port, "/a/b?c", long)
    assert.deepStrictEqual(asked, ["GET /a/b?c close"])
  }).pipe(Effect.scoped)
)

it.live("a path that can't be sent is Unhealthy", () =>
  Effect.gen(function* () {
    const port = yield* listening(createHttpServer((_request, response) => response.end()))
    assert.strictEqual((yield* probe(port, "/a b", long))._tag, "Unhealthy")
  }).pipe(Effect.scoped)
)

it.live("nobody there is Closed", () =>
  Effect.gen(function* () {
    const port = yield* Effect.scoped(listening(createServer()))
    assert.deepStrictEqual(yield* probe(port, "/", long), { _tag: "Closed" })
  })
)

it.live.each([
  { what: "other protocols", serve: (socket: Socket) => socket.write("220 mail.example ESMTP\r\n"), tag: "Listening" },
  {
    what: "another protocol instead",
    serve: (socket: Socket) =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    tag: "Listening"
  },
  { what: "an end without an answer", serve: (socket: Socket) => socket.destroy(), tag: "Unhealthy" },
  { what: "half an answer", serve: (socket: Socket) => socket.end("HTTP/1.1 200 OK\r\nContent-"), tag: "Unhealthy" }
])("$what: $tag", ({ serve, tag }) =>
  Effect.gen(function* () {
    const { port } = yield* raw(serve)
    assert.strictEqual((yield* probe(port, "/", long))._tag, tag)
  }).pipe(Effect.scoped)
)

it.live("no answer in time is Unhealthy, and the connection is closed", () =>
  Effect.gen(function* () {
    const { port, open } = yield* raw((socket) => socket.resume())
    assert.deepStrictEqual(yield* probe(port, "/", 200), { _tag: "Unhealthy", detail: "no answer within 200 ms" })
    while (open.size > 0) yield* Effect.sleep(10)
  }).pipe(Effect.scoped)
)

it.live("a body without end is not read", () =>
  Effect.gen(function* () {
    const { port, open } = yield* raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      const more = () => {
        while (!socket.destroyed && socket.write("1000\r\n" + "x".repeat(4096) + "\r\n"));
      }
      socket.on("drain", more)
      more()
    })
    assert.deepStrictEqual(yield* probe(port, "/", long), { _tag: "Healthy" })
    while (open.size > 0) yield* Effect.sleep(10)
  }).pipe(Effect.scoped)
)
