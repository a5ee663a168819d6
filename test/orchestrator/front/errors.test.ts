import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import { type ChildProcess, spawn } from "node:child_process"
import * as net from "node:net"
import type { Scope } from "effect/Scope"
import * as Deadlines from "../../../src/proxy/Deadlines.ts"
import { Unavailable } from "../../../src/orchestrator/Supervisor.ts"
import { front, frontOf, raw, send, serve } from "./support.ts"

const limit = 60_000

/** Plain TCP: says what it likes to whoever sent something. */
const speaking = (speak: (socket: net.Socket) => void): Effect.Effect<number, never, Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ server: net.Server; sockets: Set<net.Socket>; port: number }>((resume) => {
      const sockets = new Set<net.Socket>()
      const server = net.createServer((socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.once("data", () => speak(socket))
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = address !== null && typeof address === "object" ? address.port : 0
        resume(Effect.succeed({ server, sockets, port }))
      })
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  ).pipe(Effect.map(({ port }) => port))

/** A process that listens and is stopped. */
const frozen: Effect.Effect<number, never, Scope> = Effect.acquireRelease(
  Effect.callback<{ readonly child: ChildProcess; readonly port: number }>((resume) => {
    const listen = "const s = net.createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }"
    const child = spawn(process.execPath, ["-e", `${listen}, () => console.log(s.address().port))`])
    child.stdout.once("data", (line: Buffer) => {
      child.kill("SIGSTOP")
      resume(Effect.succeed({ child, port: Number(line) }))
    })
  }),
  ({ child }) =>
    Effect.callback<void>((resume) => {
      child.once("exit", () => resume(Effect.void))
      child.kill("SIGKILL")
    })
).pipe(Effect.map(({ port }) => port))

const hanging = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => net.connect({ host: "127.0.0.1", port }).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  )

const secret = "DATABASE_PASSWORD=hunter2"
const failing = (reason: Unavailable["reason"]) =>
  front({
    use: () =>
      Effect.fail(new Unavailable({ reason, detail: `cause: ${secret}`, retryAfterSeconds: 7, output: [secret] }))
  })

const stranger = { "x-forwarded-for": "6.6.6.6" }

describe("a server that can't be had", { timeout: limit }, () => {
  it.live.each([
    ["forbidden", 404, "project_not_found", undefined],
    ["invalid", 500, "invalid_project", undefined],
    ["rate_limited", 429, "rate_limited", "7"],
    ["full", 503, "no_capacity", "7"],
    ["failed", 503, "start_failed", "7"],
    ["draining", 503, "draining", "7"]
  ] as const)("%s is %i %s", ([reason, status, code, retryAfter]) =>
    Effect.gen(function* () {
      const { port } = yield* failing(reason)
      const answer = yield* send(port, { path: "/projects/a/", headers: stranger })
      assert.strictEqual(answer.status, status)
      assert.strictEqual(answer.headers["content-type"], "application/problem+json")
      assert.strictEqual(answer.headers["retry-after"], retryAfter)
      const problem: unknown = JSON.parse(answer.body)
      assert.deepInclude(problem, { type: `urn:valet:problem:${code}`, status, code })
      assert.notInclude(JSON.stringify(answer), secret)
    })
  )

  it.live(
    "somebody on this machine sees the cause and the server's last lines, except where a project is kept secret",
    () =>
      Effect.gen(function* () {
        const local = yield* failing("failed")
        const problem: unknown = JSON.parse((yield* send(local.port, { path: "/projects/a/" })).body)
        assert.deepInclude(problem, { cause: `cause: ${secret}`, output: secret, retry_after_seconds: 7 })
        const forbidden = yield* failing("forbidden")
        assert.notInclude((yield* send(forbidden.port, { path: "/projects/a/" })).body, secret)
      })
  )

  it.live("what others see is an id, which stands in the log beside the cause", () => {
    const lines: Array<string> = []
    const logged = Logger.layer([Logger.map(Logger.formatJson, (line) => void lines.push(line))])
    return Effect.gen(function* () {
      const { port } = yield* failing("failed")
      const answer = yield* send(port, { path: "/projects/a/", headers: stranger })
      const id = /"error_id":"([0-9a-z]{6})"/.exec(answer.body)?.[1]
      assert.isDefined(id)
      assert.strictEqual(
        lines.filter((line) => line.includes(`"error_id":"${id}"`) && line.includes("cause: ")).length,
        1
      )
    }).pipe(Effect.provide(logged))
  })

  it.live("a browser gets a page that comes back by itself, and nothing in it is markup", () =>
    Effect.gen(function* () {
      const { port } = yield* front({
        use: () =>
          Effect.fail(
            new Unavailable({
              reason: "failed",
              detail: "<b>&\"'",
              retryAfterSeconds: 3,
              output: ["<script>x</script>"]
            })
          )
      })
      const answer = yield* send(port, { path: "/projects/a/", headers: { accept: "text/html,*/*" } })
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.headers["content-type"], "text/html; charset=utf-8")
      assert.match(answer.headers["content-security-policy"]?.toString() ?? "", /default-src 'none'/)
      assert.include(answer.body, '<meta http-equiv="refresh" content="3">')
      assert.include(answer.body, "&#60;script&#62;x&#60;/script&#62;")
      assert.include(answer.body, "&#60;b&#62;&#38;&#34;&#39;")
      const gone = yield* failing("forbidden")
      const notFound = yield* send(gone.port, { path: "/projects/a/", headers: { accept: "text/html" } })
      assert.strictEqual(notFound.status, 404)
      assert.notInclude(notFound.body, "http-equiv")
    })
  )

  it.live("an upgrade is refused in words, and its connection ends", () =>
    Effect.gen(function* () {
      const { open, port } = yield* failing("full")
      const text = yield* raw(port, "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
      assert.match(text, /^HTTP\/1\.1 503 [^]*retry-after: 7\r\n[^]*Connection: close\r\n\r\n\{.*"no_capacity".*\}$/i)
      assert.strictEqual(open(), 0)
    })
  )

  it.live("a connection is good for another request after a refusal, its upload read to the end", () =>
    Effect.gen(function* () {
      const { port } = yield* failing("full")
      const body = "x".repeat(500_000)
      const upload = `POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`
      const text = yield* raw(port, `${upload}GET /own HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      assert.deepStrictEqual(text.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 503", "HTTP/1.1 200"])
    })
  )
})

describe("a server that answers badly", { timeout: limit }, () => {
  it.live.each([
    ["nothing at all", "", 502],
    ["what is not HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n", 502],
    ["a status that is none", "HTTP/1.1 abc OK\r\n\r\n", 502],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", 502],
    ["length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502],
    ["half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502],
    ["another protocol that nobody asked for", "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502]
  ] as const)("%s", ([, answer, status]) =>
    Effect.gen(function* () {
      const { open, port } = yield* frontOf(yield* speaking((socket) => socket.end(answer)))
      assert.strictEqual((yield* send(port, { path: "/projects/a/" })).status, status)
      assert.strictEqual(open(), 0)
    })
  )

  it.live("or not in time: 504", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) => request.resume())
      const { open, port } = yield* frontOf(server, { config: { responseTimeoutMs: 500 } })
      const answer = yield* send(port, { path: "/projects/a/" })
      assert.strictEqual(answer.status, 504)
      assert.include(answer.body, "response_timeout")
      assert.strictEqual(open(), 0)
    })
  )

  it.live("or a client that stops in the middle of its upload: 408, and its connection ends", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) => request.resume())
      const { open, port } = yield* frontOf(server, { config: { responseTimeoutMs: 500 } })
      const text = yield* raw(port, "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 9\r\n\r\nhalf")
      assert.match(text, /^HTTP\/1\.1 408 [^]*Connection: close\r\n/)
      assert.strictEqual(open(), 0)
    })
  )

  it.live("or accepts no connection any more: 504", () =>
    Effect.gen(function* () {
      const server = yield* frozen
      // More than its queue holds.
      for (let at = 0; at < 8; at++) yield* hanging(server)
      const { open, port, uses } = yield* frontOf(server)
      const answer = yield* send(port, { path: "/projects/a/" })
      assert.strictEqual(answer.status, 504)
      assert.include(answer.body, "connect_timeout")
      assert.deepStrictEqual([uses.length, open()], [1, 0])
    })
  )

  it.live("an upgrade that is not answered in time: 504", () =>
    Effect.gen(function* () {
      const { open, port } = yield* frontOf(yield* speaking(() => {}), { config: { responseTimeoutMs: 300 } })
      const upgrade = "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
      assert.match(yield* raw(port, upgrade), /^HTTP\/1\.1 504 /)
      assert.strictEqual(open(), 0)
    })
  )

  it.live("a limit of 0 is none, and an answer that has begun has none", () =>
    Effect.gen(function* () {
      const slow = (first: number, rest: number) =>
        speaking((socket) => {
          setTimeout(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), first)
          setTimeout(() => socket.write("k"), first + rest)
        })
      const never = yield* frontOf(yield* slow(1_200, 0), { config: { responseTimeoutMs: 0 } })
      const begun = yield* frontOf(yield* slow(0, 2_500), { config: { responseTimeoutMs: 1_000 } })
      const both = [never.port, begun.port].map((port) => send(port, { path: "/projects/a/" }))
      const answers = yield* Effect.all(both, { concurrency: 2 })
      assert.deepStrictEqual(
        answers.map(({ body }) => body),
        ["ok", "ok"]
      )
    })
  )
})

describe("deadlines", () => {
  it.effect("pass once, at their time, unless extended or ended", () =>
    Effect.gen(function* () {
      const passed: Array<string> = []
      let looks = 0
      const deadlines = yield* Deadlines.make(() => (looks += 1))
      deadlines.start(1_000, () => passed.push("short"))
      const extended = deadlines.start(1_000, () => passed.push("extended"))
      const ended = deadlines.start(1_000, () => passed.push("ended"))
      const unlimited = deadlines.start(1_000, () => passed.push("unlimited"))
      ended.end()
      unlimited.extend(0)
      yield* TestClock.adjust(750)
      extended.extend(1_000)
      assert.deepStrictEqual(passed, [])
      yield* TestClock.adjust(250)
      assert.deepStrictEqual(passed, ["short"])
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(passed, ["short"])
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(passed, ["short", "extended"])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(passed, ["short", "extended"])
      assert.isAbove(looks, 3_600)
    })
  )
})

describe("requests that are none", { timeout: limit }, () => {
  const host = "Host: a.localhost\r\n"
  it.live.each([
    ["not HTTP", "hello\r\n\r\n"],
    ["no Host", "GET / HTTP/1.1\r\n\r\n"],
    ["two Hosts", `GET / HTTP/1.1\r\n${host}Host: b.localhost\r\n\r\n`],
    ["the same Host twice", `GET / HTTP/1.1\r\n${host}${host}\r\n`],
    ["a Host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"],
    ["absolute form", `GET http://a.localhost/ HTTP/1.1\r\n${host}\r\n`],
    ["absolute form to an internal path", `GET http://a.localhost/internal/x HTTP/1.1\r\n${host}\r\n`],
    ["asterisk form", `OPTIONS * HTTP/1.1\r\n${host}\r\n`],
    ["length and chunks", `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["two lengths", `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody`],
    ["a signed length", `POST / HTTP/1.1\r\n${host}Content-Length: +4\r\n\r\nbody`],
    ["another coding", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    [
      "two codings",
      `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
    ],
    ["a space before the colon", `GET / HTTP/1.1\r\n${host}X-A : 1\r\n\r\n`],
    ["a folded header", `GET / HTTP/1.1\r\n${host}X-A: 1\r\n 2\r\n\r\n`],
    ["bare line feeds", "GET / HTTP/1.1\nHost: a.localhost\n\n"],
    ["a NUL", `GET / HTTP/1.1\r\n${host}X-A: \0\r\n\r\n`],
    ["chunks of HTTP/1.0", "POST /projects/a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
  ] as const)("%s: 400, the connection ends, no server hears of it", ([, bytes]) =>
    Effect.gen(function* () {
      const { port, uses } = yield* frontOf(1)
      const text = yield* raw(port, bytes)
      assert.match(text, /^HTTP\/1\.1 400 /)
      assert.strictEqual(text.match(/HTTP\/1\.1 /g)?.length, 1)
      assert.deepStrictEqual(uses, [])
    })
  )

  it.live("CONNECT ends without a word", () =>
    Effect.gen(function* () {
      const { port, uses } = yield* frontOf(1)
      assert.notMatch(yield* raw(port, `CONNECT a.localhost:443 HTTP/1.1\r\n${host}\r\n`), /200/)
      assert.deepStrictEqual(uses, [])
    })
  )

  it.live("headers without end: 431", () =>
    Effect.gen(function* () {
      const { port, uses } = yield* frontOf(1)
      const text = yield* raw(port, `GET / HTTP/1.1\r\n${host}X-A: ${"a".repeat(20_000)}\r\n\r\n`)
      assert.match(text, /^HTTP\/1\.1 431 /)
      assert.deepStrictEqual(uses, [])
    })
  )
})
