import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash } from "node:crypto"
import type { ServerResponse } from "node:http"
import { WebSocketServer } from "ws"
import { eventually } from "../../support/eventually.ts"
import { Browser } from "../support/Browser.ts"
import { httpChild } from "../support/Child.ts"
import { bytesOf } from "../support/Sockets.ts"
import { atRest, hostOn, layerFront, pathOn, Subject } from "../support/Subject.ts"

const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex")

/** An app of a project that knows nothing of where it is served: its page names everything relative to itself. */
const app = Effect.gen(function* () {
  const closes: Array<{ code: number; reason: string }> = []
  const streams: Array<ServerResponse> = []
  const cookies: Array<string | undefined> = []
  const gone: Array<string> = []
  const child = yield* httpChild(
    (request, response) => {
      const url = request.url ?? ""
      response.on("close", () => gone.push(url))
      if (url === "/") {
        response.writeHead(200, { "content-type": "text/html", "set-cookie": "seen=yes; Path=/" })
        return response.end('<!doctype html><title>app</title><img src="dot.svg"><script src="app.js"></script>')
      }
      if (url === "/app.js") {
        return response.writeHead(200, { "content-type": "text/javascript" }).end('document.title = "app runs"')
      }
      if (url === "/dot.svg") {
        const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"></svg>'
        return response.writeHead(200, { "content-type": "image/svg+xml" }).end(svg)
      }
      if (url === "/cookie") {
        cookies.push(request.headers.cookie)
        return response.end("noted")
      }
      if (url === "/upload") {
        const hash = createHash("sha256")
        request.on("data", (chunk: Buffer) => hash.update(chunk))
        return request.on("end", () => response.end(hash.digest("hex")))
      }
      if (url === "/stream" || url === "/events") {
        const type = url === "/events" ? "text/event-stream" : "text/plain"
        response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).flushHeaders()
        return streams.push(response)
      }
      return response.writeHead(404).end()
    },
    (server) => {
      const sockets = new WebSocketServer({ server, perMessageDeflate: true, handleProtocols: () => "v2" })
      sockets.on("connection", (socket) => {
        socket.on("error", () => {})
        socket.on("close", (code, reason) => closes.push({ code, reason: reason.toString() }))
        socket.on("message", (data, binary) => {
          const message = bytesOf(data)
          if (!binary && message.toString().startsWith("close ")) {
            const [, code, reason] = message.toString().split(" ")
            return socket.close(Number(code), reason)
          }
          return socket.send(message, { binary })
        })
      })
    }
  )
  return { ...child, closes, streams, cookies, gone }
})

interface Place {
  readonly name: string
  readonly url: (port: number, child: { readonly port: number }) => string
}

const places: ReadonlyArray<Place> = [
  { name: "below /projects/<id>/", url: (port, child) => `http://127.0.0.1:${port}${pathOn(child.port)}/` },
  { name: "on <id>.localhost", url: (port, child) => `http://${hostOn(child.port)}:${port}/` }
]

const opened = ({ url }: Place) =>
  Effect.gen(function* () {
    const { port } = yield* Subject
    const context = yield* (yield* Browser).context
    const child = yield* app
    const page = yield* Effect.promise(() => context.newPage())
    const failures: Array<string> = []
    page.on("pageerror", (error) => failures.push(error.message))
    page.on("requestfailed", (request) => failures.push(request.url()))
    yield* Effect.promise(() => page.goto(url(port, child)))
    return { child, page, context, failures, port }
  })

layer(Layer.merge(layerFront(), Browser.layer), { excludeTestServices: true, timeout: "180 seconds" })(
  "headless Chromium",
  (it) => {
    for (const place of places) {
      it.effect(`a page ${place.name} loads what it names relative to itself, and gets its cookie back`, () =>
        Effect.gen(function* () {
          const { child, context, failures, page } = yield* opened(place)
          assert.strictEqual(yield* Effect.promise(() => page.title()), "app runs")
          assert.strictEqual(yield* Effect.promise(() => page.evaluate("document.images[0].naturalWidth")), 7)
          yield* Effect.promise(() => page.evaluate("fetch('cookie').then((answer) => answer.text())"))
          assert.deepStrictEqual(child.cookies, ["seen=yes"])
          const kept = yield* Effect.promise(() => context.cookies())
          assert.deepStrictEqual(
            kept.map(({ name, value }) => [name, value]),
            [["seen", "yes"]]
          )
          assert.deepStrictEqual(failures, [])
        })
      )

      it.effect(`a WebSocket of a page ${place.name}: subprotocol, text, 1 MiB binary, close codes of both sides`, () =>
        Effect.gen(function* () {
          const { child, page } = yield* opened(place)
          const told = yield* Effect.promise(() =>
            page.evaluate(`(async () => {
              const open = () => new Promise((resolve, reject) => {
                const url = new URL("ws", location.href)
                url.protocol = "ws:"
                const socket = new WebSocket(url, ["v1", "v2"])
                socket.binaryType = "arraybuffer"
                socket.onopen = () => resolve(socket)
                socket.onerror = () => reject(new Error("no connection"))
              })
              const next = (socket) => new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(data) })
              const closed = (socket) => new Promise((resolve) => {
                socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean])
              })
              const first = await open()
              first.send("grüße 👋")
              const text = await next(first)
              const sent = new Uint8Array(1048576)
              for (let at = 0; at < sent.length; at += 65536) crypto.getRandomValues(sent.subarray(at, at + 65536))
              first.send(sent)
              const back = new Uint8Array(await next(first))
              const same = back.length === sent.length && back.every((byte, at) => byte === sent[at])
              const long = "a" + "é".repeat(524288)
              first.send(long)
              const sameText = (await next(first)) === long
              const byClient = closed(first)
              first.close(4001, "had enough")
              const second = await open()
              const byServer = closed(second)
              second.send("close 1001 restart")
              return {
                text, same, sameText, protocol: first.protocol, extensions: first.extensions,
                byClient: await byClient, byServer: await byServer
              }
            })()`)
          )
          assert.deepStrictEqual(told, {
            text: "grüße 👋",
            same: true,
            sameText: true,
            protocol: "v2",
            extensions: "permessage-deflate",
            byClient: [4001, "had enough", true],
            byServer: [1001, "restart", true]
          })
          // The browser's last frame may still be on its way to the server.
          yield* eventually(Effect.sync(() => child.closes.length === 2))
          assert.deepInclude(child.closes, { code: 4001, reason: "had enough" })
          assert.deepInclude(child.closes, { code: 1001, reason: "restart" })
        })
      )

      it.effect(`a page ${place.name} reads an answer while it is written, and an upload arrives whole`, () =>
        Effect.gen(function* () {
          const { child, page } = yield* opened(place)
          yield* Effect.promise(() =>
            page.evaluate(`window.read = []; window.over = fetch("stream").then(async ({ body }) => {
              const decoder = new TextDecoder()
              for await (const chunk of body) window.read.push(decoder.decode(chunk))
              return window.read.join("")
            }); undefined`)
          )
          yield* eventually(Effect.sync(() => child.streams.length === 1))
          const [stream] = child.streams
          for (let i = 1; i <= 3; i++) {
            stream?.write(`part ${i};`)
            const seen = `window.read.join("").endsWith("part ${i};")`
            yield* Effect.promise(() => page.waitForFunction(seen, undefined, { timeout: 20_000 }))
          }
          stream?.end("end")
          assert.strictEqual(yield* Effect.promise(() => page.evaluate("window.over")), "part 1;part 2;part 3;end")
          const size = 8 * 1024 * 1024
          const hash = yield* Effect.promise(() =>
            page.evaluate(`fetch("upload", { method: "POST", body: new Uint8Array(${size}).fill(118) })
              .then((answer) => answer.text())`)
          )
          assert.strictEqual(hash, sha256(Buffer.alloc(size, 118)))
        })
      )

      it.effect(`an EventSource of a page ${place.name} gets events one by one, and its end reaches the child`, () =>
        Effect.gen(function* () {
          const { child, page } = yield* opened(place)
          yield* Effect.promise(() =>
            page.evaluate(`window.events = []; window.source = new EventSource("events")
              window.source.onmessage = ({ data }) => window.events.push(data)
              window.source.addEventListener("named", ({ data, lastEventId }) =>
                window.events.push(lastEventId + " " + data)); undefined`)
          )
          yield* eventually(Effect.sync(() => child.streams.length === 1))
          const [stream] = child.streams
          for (const [i, event] of ["data: one\n\n", "event: named\nid: 7\ndata: two\n\n"].entries()) {
            stream?.write(event)
            const came = `window.events.length === ${i + 1}`
            yield* Effect.promise(() => page.waitForFunction(came, undefined, { timeout: 20_000 }))
          }
          assert.deepStrictEqual(yield* Effect.promise(() => page.evaluate("window.events")), ["one", "7 two"])
          yield* Effect.promise(() => page.evaluate("window.source.close()"))
          yield* eventually(Effect.sync(() => child.gone.includes("/events")))
        })
      )
    }

    it.effect("a page that is closed closes its WebSocket at the child", () =>
      Effect.gen(function* () {
        const { child, page } = yield* opened({
          name: "by host",
          url: (port, child) => `http://${hostOn(child.port)}:${port}/`
        })
        yield* Effect.promise(() =>
          page.evaluate(`new Promise((resolve) => {
            window.socket = new WebSocket("ws://" + location.host + "/ws", "v2")
            window.socket.onopen = () => resolve(true)
          })`)
        )
        assert.strictEqual(child.closes.length, 0)
        yield* Effect.promise(() => page.close())
        yield* eventually(Effect.sync(() => child.closes.length === 1))
      })
    )

    it.effect("afterwards no connection is held", () => atRest)
  }
)
