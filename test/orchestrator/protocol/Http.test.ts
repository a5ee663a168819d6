import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { eventually } from "../../support/eventually.ts"
import { answersIn, header } from "../support/Answers.ts"
import { httpChild, rawChild, recordingChild } from "../support/Child.ts"
import { exchange } from "../support/Exchange.ts"
import { drain, pour } from "../support/Pace.ts"
import { hostOn, pathOn, Subject } from "../support/Subject.ts"
import { suites } from "../support/Suite.ts"
import { dial, wire, type Wire } from "../support/Wire.ts"

const suite = suites()

const MiB = 1024 * 1024

/** A request by exact bytes, its Host the child's; with the client it went by. */
const raw = (child: { readonly port: number }, bytes: (host: string) => string) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const client = yield* dial(port)
    client.send(bytes(hostOn(child.port)))
    return client
  })

/** An exchange with a child by its path. */
const to = (child: { readonly port: number }, options: Parameters<typeof exchange>[1] = {}, rest = "/") =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    return yield* exchange(port, { path: pathOn(child.port) + rest, ...options })
  })

suite("HTTP", (it) => {
  it.effect("a 413 while the upload goes on reaches a client that goes on sending, also of a child that closes", () =>
    Effect.gen(function* () {
      for (const connection of ["close", "keep-alive"]) {
        const child = yield* httpChild((_, response) => void response.writeHead(413, { connection }).end("too large"))
        // As often as a write of the proxy may come between the answer and its reading.
        for (let i = 0; i < 20; i++) {
          const { body, request, response } = yield* to(child, {
            method: "POST",
            headers: { connection: "keep-alive" }
          })
          // As curl does: it sends until it reads the answer.
          pour(request, 16 * MiB)
          assert.strictEqual((yield* response).statusCode, 413)
          assert.strictEqual(yield* body, "too large")
          request.destroy()
        }
      }
    })
  )

  it.effect("a child that is reset in an answer without a length cuts the client's connection", () =>
    Effect.gen(function* () {
      const accepted: Array<Wire> = []
      const child = yield* rawChild((socket) => accepted.push(wire(socket)))
      const { request, response } = yield* to(child)
      request.end()
      yield* eventually(Effect.sync(() => (accepted[0]?.text() ?? "").endsWith("\r\n\r\n")))
      accepted[0]?.send("HTTP/1.1 200 OK\r\n\r\nhello")
      const answer = yield* response
      let received = ""
      let over = false
      answer.on("data", (chunk: Buffer) => (received += chunk.toString()))
      answer.on("close", () => (over = true))
      yield* eventually(Effect.sync(() => received === "hello"))
      accepted[0]?.socket.resetAndDestroy()
      yield* eventually(Effect.sync(() => over))
      assert.isFalse(answer.complete)
    })
  )

  it.effect("headers arrive as they were sent: order, case, repetitions and bytes beyond ASCII, both ways", () =>
    Effect.gen(function* () {
      for (const [method, framing] of [
        ["GET", ""],
        ["POST", "Content-Length: 0\r\n"],
        ["PUT", "Content-Length: 4\r\n"]
      ] as const) {
        const seen: Array<ReadonlyArray<string>> = []
        const child = yield* rawChild((socket) => {
          const { text } = wire(socket)
          socket.on("data", () => {
            if (!text().endsWith("\r\n\r\n")) return
            seen.push(text().split("\r\n"))
            socket.write(
              Buffer.from(
                "HTTP/1.1 299 Fine, thanks\r\nX-B: 1\r\nx-a: \xe9\r\nX-B: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" +
                  "Vary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n",
                "latin1"
              )
            )
          })
        })
        const client = yield* raw(
          child,
          (host) =>
            `${method} /%zz?<>"|^ HTTP/1.1\r\nHost: ${host}\r\nX-B: 1\r\nx-a: \xe9\xff\r\nX-B: 2\r\nCookie: a\r\nCookie: b\r\n${framing}\r\n`
        )
        // The body comes later than the head, which goes on alone.
        yield* eventually(Effect.sync(() => child.accepted() > 0))
        if (method === "PUT") client.send("\r\n\r\n")
        const text = yield* client.until((text) => text.includes("\r\n\r\n"))
        const [answer] = answersIn(text)
        assert.deepInclude(answer, { status: 299, reason: "Fine, thanks" })
        assert.deepStrictEqual(
          answer?.headers.filter(([name]) => ["x-b", "x-a", "set-cookie", "vary"].includes(name)),
          [
            ["x-b", "1"],
            ["x-a", "\xe9"],
            ["x-b", "2"],
            ["set-cookie", "a=1"],
            ["set-cookie", "b=2"],
            ["vary", "a"],
            ["vary", "b"]
          ]
        )
        const lines = seen[0] ?? []
        assert.strictEqual(lines[0], `${method} /%zz?<>"|^ HTTP/1.1`)
        assert.deepStrictEqual(
          lines.filter((line) => /^(x-[ab]|cookie):/i.test(line)),
          ["X-B: 1", "x-a: \xe9\xff", "X-B: 2", "Cookie: a", "Cookie: b"]
        )
      }
    })
  )

  it.effect("an event arrives before the stream of them ends, and the head before the first", () =>
    Effect.gen(function* () {
      const streams: Array<ServerResponse> = []
      const child = yield* httpChild((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders()
        streams.push(response)
      })
      const { request, response } = yield* to(child)
      request.end()
      const answer = yield* response
      assert.strictEqual(answer.headers["content-type"], "text/event-stream")
      let text = ""
      answer.on("data", (chunk: Buffer) => (text += chunk.toString()))
      for (let i = 0; i < 3; i++) {
        streams[0]?.write(`data: ${i}\n\n`)
        yield* eventually(Effect.sync(() => text.endsWith(`data: ${i}\n\n`)))
      }
      streams[0]?.end()
      yield* eventually(Effect.sync(() => answer.complete))
    })
  )

  it.effect("Expect: 100-continue: the child's 100 comes before the body is sent, which then arrives", () =>
    Effect.gen(function* () {
      let asked = 0
      const child = yield* httpChild(
        () => {},
        (server) =>
          server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
            asked += 1
            response.writeContinue()
            const { received, whole } = drain(request)
            request.on("end", () => response.end(`${received()} ${whole()}`))
          })
      )
      const { body, continued, request } = yield* to(child, {
        method: "PUT",
        headers: { expect: "100-continue", "content-length": MiB }
      })
      request.flushHeaders()
      yield* eventually(Effect.sync(continued))
      assert.strictEqual(asked, 1)
      pour(request, MiB)
      assert.strictEqual(yield* body, `${MiB} true`)
    })
  )

  it.effect("Expect: 100-continue: a 417 of the child is the answer, and no 100 goes before it", () =>
    Effect.gen(function* () {
      const received: Array<string> = []
      const child = yield* httpChild(
        () => {},
        (server) =>
          server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
            request.on("data", (chunk: Buffer) => received.push(chunk.toString()))
            response.writeHead(417, { "x-why": "too large" }).end("no")
          })
      )
      const client = yield* raw(
        child,
        (host) => `PUT / HTTP/1.1\r\nHost: ${host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`
      )
      const text = yield* client.until((text) => text.includes("no\r\n0\r\n\r\n"))
      const answers = answersIn(text)
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        [417]
      )
      assert.deepStrictEqual(received, [])
      // What comes next is the refused body or a request: nobody can tell. So nothing of it may be served.
      client.send("GET /internal/secret HTTP/1.1\r\nHost: x\r\n\r\n")
      const { text: all } = yield* client.over
      assert.strictEqual(all, text)
      assert.deepStrictEqual(received, [])
    })
  )

  it.effect("HEAD: the answer has the child's Content-Length and no body, and the connection goes on", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((request, response) => {
        response.writeHead(200, { "content-length": 12_345, etag: '"x"' })
        response.end(request.method === "HEAD" ? undefined : Buffer.alloc(12_345))
      })
      const client = yield* raw(
        child,
        (host) =>
          `HEAD /a HTTP/1.1\r\nHost: ${host}\r\n\r\nHEAD /b HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      )
      const { text } = yield* client.over
      const answers = answersIn(text, ["HEAD", "HEAD"])
      assert.strictEqual(answers.length, 2)
      for (const answer of answers) {
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(header(answer, "content-length"), "12345")
        assert.strictEqual(header(answer, "etag"), '"x"')
      }
    })
  )

  it.effect("204 and 304 have no body and no invented framing, and the connection goes on", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((request, response) => {
        if (request.url === "/204") response.writeHead(204).end()
        else if (request.url === "/304") response.writeHead(304, { etag: '"x"', "content-length": 99 }).end()
        else response.end("last")
      })
      const client = yield* raw(child, (host) =>
        ["/204", "/304", "/200"].map((path) => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`).join("")
      )
      const text = yield* client.until((text) => text.includes("last"))
      const answers = answersIn(text)
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        [204, 304, 200]
      )
      const [none, same] = answers
      if (none === undefined || same === undefined) return
      assert.isUndefined(header(none, "content-length"))
      assert.isUndefined(header(none, "transfer-encoding"))
      assert.isUndefined(header(same, "transfer-encoding"))
      assert.strictEqual(header(same, "etag"), '"x"')
    })
  )

  it.effect("trailers of the request reach the child, and those of its answer the client", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((request, response) => {
        request.resume().on("end", () => {
          response.writeHead(200, { trailer: "X-Sum" })
          response.write("body")
          response.addTrailers({ "X-Sum": JSON.stringify(request.trailers) })
          response.end()
        })
      })
      const client = yield* raw(
        child,
        (host) =>
          `POST / HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\nTE: trailers\r\n\r\n` +
          "3\r\nabc\r\n0\r\nX-Check: 42\r\n\r\n"
      )
      const text = yield* client.until((text) => text.endsWith("\r\n\r\n") && text.includes("\r\n0\r\n"))
      const [answer] = answersIn(text)
      assert.strictEqual(answer?.body, "body")
      assert.deepStrictEqual(answer?.trailers, [["x-sum", '{"x-check":"42"}']])
    })
  )

  it.effect("20 pipelined requests are answered in their order, those with bodies too", () =>
    Effect.gen(function* () {
      const waiting: Array<() => void> = []
      let served = 0
      const child = yield* httpChild((request, response) => {
        let body = ""
        request.on("data", (chunk: Buffer) => (body += chunk.toString()))
        request.on("end", () => {
          const answer = () => void response.end(`${request.method} ${request.url} ${body}`)
          // The first is the last to be answered, if they come all at once.
          if (served++ === 0) waiting.push(answer)
          else answer()
        })
      })
      const client = yield* raw(child, (host) =>
        Array.from({ length: 20 }, (_, i) =>
          i % 2 === 0
            ? `GET /${i} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
            : `POST /${i} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4\r\n\r\nb${String(i).padStart(3, "0")}`
        ).join("")
      )
      yield* eventually(Effect.sync(() => waiting.length === 1))
      waiting[0]?.()
      const text = yield* client.until((text) => text.includes("POST /19 b019"))
      assert.deepStrictEqual(
        answersIn(text).map(({ body }) => body),
        Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? `GET /${i} ` : `POST /${i} b${String(i).padStart(3, "0")}`))
      )
    })
  )

  it.effect("pipelined requests to different projects each reach their own", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const children = yield* Effect.forEach(["a", "b", "c"], (name) =>
        httpChild((request, response) => void response.end(`${name}${request.url}`))
      )
      const client = yield* dial(port)
      const order = [0, 1, 2, 1, 0, 2, 2, 0]
      client.send(
        order.map((at, i) => `GET /${i} HTTP/1.1\r\nHost: ${hostOn(children[at]?.port ?? 0)}\r\n\r\n`).join("")
      )
      const text = yield* client.until((text) => text.includes("a/7"))
      assert.deepStrictEqual(
        answersIn(text).map(({ body }) => body),
        order.map((at, i) => `${"abc"[at]}/${i}`)
      )
    })
  )

  it.effect("HTTP/1.0: an answer without a length ends with the connection, and is not chunked", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((_, response) => {
        response.write("one ")
        response.end("two")
      })
      const client = yield* raw(child, (host) => `GET / HTTP/1.0\r\nHost: ${host}\r\n\r\n`)
      const { clean, text } = yield* client.over
      assert.isTrue(clean)
      const [answer] = answersIn(text)
      assert.strictEqual(answer?.body, "one two")
      if (answer !== undefined) assert.isUndefined(header(answer, "transfer-encoding"))
    })
  )

  it.effect("HTTP/1.0 with keep-alive: answers of known length go on, on one connection", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((request, response) => {
        const body = `at ${request.url}`
        response.writeHead(200, { "content-length": body.length }).end(body)
      })
      const client = yield* raw(child, (host) => `GET /1 HTTP/1.0\r\nHost: ${host}\r\nConnection: keep-alive\r\n\r\n`)
      const first = yield* client.until((text) => text.endsWith("at /1"))
      assert.match(first, /\r\nconnection: keep-alive\r\n/i)
      client.send(`GET /2 HTTP/1.0\r\nHost: ${hostOn(child.port)}\r\n\r\n`)
      const { clean, text } = yield* client.over
      assert.isTrue(clean)
      assert.isTrue(text.endsWith("at /2"))
    })
  )

  it.effect("Connection: close of the client ends its connection behind the answer", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((_, response) => void response.end("bye"))
      const client = yield* raw(child, (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      const { clean, text } = yield* client.over
      assert.isTrue(clean)
      assert.strictEqual(answersIn(text)[0]?.body, "bye")
    })
  )

  it.effect("Connection: close of the child is not the client's: its connection goes on", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((request, response) => {
        response.writeHead(200, { connection: "close" }).end(`at ${request.url}`)
      })
      const client = yield* raw(child, (host) => `GET /1 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      yield* client.until((text) => text.includes("at /1"))
      client.send(`GET /2 HTTP/1.1\r\nHost: ${hostOn(child.port)}\r\n\r\n`)
      yield* client.until((text) => text.includes("at /2"))
    })
  )

  it.effect("a client that goes away ends its request at the child: before the answer, in it, and in an upload", () =>
    Effect.gen(function* () {
      const open = new Set<string>()
      const child = yield* httpChild((request, response) => {
        const url = request.url ?? ""
        open.add(url)
        response.on("close", () => open.delete(url))
        request.on("error", () => {})
        if (url === "/during") response.writeHead(200).write("x")
        if (url === "/upload") request.resume()
      })
      for (const path of ["/before", "/during", "/upload"]) {
        const { request } = yield* to(child, { method: path === "/upload" ? "POST" : "GET" }, path)
        if (path === "/upload") request.write("a part")
        else request.end()
        yield* eventually(Effect.sync(() => open.has(path)))
        request.destroy()
        yield* eventually(Effect.sync(() => !open.has(path)))
      }
    })
  )

  for (const [name, head] of [
    ["chunked", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ["of a length", "Content-Length: 10\r\n\r\nhello"]
  ] as const) {
    it.effect(`a child that dies in an answer ${name} cuts the client's connection: no clean end`, () =>
      Effect.gen(function* () {
        const accepted: Array<Wire> = []
        const child = yield* rawChild((socket) => accepted.push(wire(socket)))
        const client = yield* raw(child, (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
        yield* eventually(Effect.sync(() => (accepted[0]?.text() ?? "").endsWith("\r\n\r\n")))
        accepted[0]?.send(`HTTP/1.1 200 OK\r\n${head}`)
        yield* client.until((text) => text.includes("hello"))
        accepted[0]?.socket.destroy()
        const { text } = yield* client.over
        assert.isFalse(answersIn(text)[0]?.complete)
        assert.notMatch(text, /\r\n0\r\n/)
      })
    )
  }

  it.effect("an answer that ends with the child's connection is whole for the client, with a framing of its own", () =>
    Effect.gen(function* () {
      const child = yield* rawChild((socket) => {
        socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nall of it"))
      })
      const { body, request } = yield* to(child)
      request.end()
      assert.strictEqual(yield* body, "all of it")
    })
  )

  it.effect("headers of more than 16 KiB get 431 and reach no child", () =>
    Effect.gen(function* () {
      const child = yield* recordingChild
      const client = yield* raw(
        child,
        (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\nX-Long: ${"x".repeat(20_000)}\r\n\r\n`
      )
      const { text } = yield* client.over
      assert.strictEqual(answersIn(text)[0]?.status, 431)
      assert.strictEqual(child.bytes(), "")
    })
  )

  it.effect("any method passes, with and without a body", () =>
    Effect.gen(function* () {
      const child = yield* recordingChild
      for (const method of ["GET", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "QUERY", "POST", "PUT"]) {
        const { body, request } = yield* to(child, { method, headers: { "content-length": 3 } })
        request.end("abc")
        yield* body
        const plain = yield* to(child, { method })
        plain.request.end()
        yield* plain.body
      }
      assert.deepStrictEqual(
        child.seen.map(({ body, method }) => `${method} ${body}`),
        ["GET", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "QUERY", "POST", "PUT"].flatMap((method) => [
          `${method} abc`,
          `${method} `
        ])
      )
    })
  )

  it.effect("early hints reach the client before the answer, or are left out; the answer is the same", () =>
    Effect.gen(function* () {
      const child = yield* httpChild((_, response) => {
        response.writeEarlyHints({ link: "</a.css>; rel=preload" })
        response.writeProcessing()
        response.end("answer")
      })
      const { body, interim, request } = yield* to(child)
      request.end()
      assert.strictEqual(yield* body, "answer")
      assert.isTrue(interim.every((status) => [102, 103].includes(status)))
    })
  )

  it.effect("a child that answers at once and never reads the upload does not stop the client's next request", () =>
    Effect.gen(function* () {
      const { port } = yield* Subject
      const child = yield* httpChild((request, response) => {
        response.end(`at ${request.url}`)
      })
      for (let i = 0; i < 5; i++) {
        const { body, request } = yield* exchange(port, { method: "POST", path: `${pathOn(child.port)}/${i}` })
        pour(request, 2 * MiB)
        assert.strictEqual(yield* body, `at /${i}`)
      }
    })
  )
})
