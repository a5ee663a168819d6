import { assert, describe, it } from "@effect/vitest"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Random from "effect/Random"
import * as http from "node:http"
import { WebSocket, WebSocketServer } from "ws"
import { edge, eventually, fakeMachines, plane, projectApp, send, serve } from "./support.ts"

const toMachine = `instance=m1;app=${projectApp}`

/** A router as the control plane is one: an Effect server that answers requests and upgrades alike. */
const effectRouter = Layer.build(
  HttpRouter.serve(
    HttpRouter.add("*", "/*", HttpServerResponse.empty({ status: 307, headers: { "fly-replay": toMachine } })),
    { disableListenLog: true, disableLogger: true }
  ).pipe(
    Layer.provideMerge(
      NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0 })
    )
  )
).pipe(
  Effect.map((context) => {
    const { address } = Context.get(context, HttpServer.HttpServer)
    return "port" in address ? address.port : 0
  })
)

/** Answers slowly, at once, or with a broken connection; echoes on sockets that it sometimes resets. */
const moody = (connections: Set<unknown>, onConnection: () => void) =>
  serve(
    (request, response) => {
      request.on("error", () => {})
      switch (request.url) {
        case "/reset":
          request.socket.resetAndDestroy()
          break
        case "/half":
          response.writeHead(200).write("half")
          setImmediate(() => request.socket.resetAndDestroy())
          break
        case "/never":
          // Reads, or it would not notice that the client has gone.
          request.resume()
          break
        case "/big":
          request.resume()
          response.end(Buffer.alloc(4 * 1024 * 1024))
          break
        default:
          request.pipe(response)
      }
    },
    (server) => {
      server.on("connection", (socket) => {
        connections.add(socket)
        onConnection()
        socket.on("close", () => connections.delete(socket))
      })
      const sockets = new WebSocketServer({ server })
      sockets.on("connection", (socket, request) => {
        socket.on("error", () => {})
        socket.on("message", (data) => {
          if (String(data) === "reset") request.socket.resetAndDestroy()
          else socket.send(data)
        })
      })
    }
  )

describe("a storm", () => {
  it.live("of requests, sockets, resets, aborts and drops leaves the edge whole and nothing open", () =>
    Effect.gen(function* () {
      const connections = new Set<unknown>()
      let taken = 0
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* moody(connections, () => (taken += 1)) })
      const { drop, port } = yield* edge([plane(yield* effectRouter)], machines)

      const request = Effect.gen(function* () {
        const path = yield* Random.choice(["/reset", "/half", "/never", "/big", "/", "/"])
        const body = Buffer.alloc(yield* Random.nextIntBetween(0, 200_000))
        const patience = yield* Random.nextIntBetween(10, 600)
        yield* send(port, { method: "POST", path, body }).pipe(Effect.timeout(patience), Effect.ignore)
      })
      const socket = Effect.gen(function* () {
        const patience = yield* Random.nextIntBetween(10, 600)
        const farewell = yield* Random.choice(["reset", "stay"])
        yield* Effect.callback<never>(() => {
          const client = new WebSocket(`ws://127.0.0.1:${port}/ws`)
          client.on("error", () => {})
          client.on("open", () => {
            client.send(Buffer.alloc(300_000))
            client.send(farewell)
          })
          return Effect.sync(() => client.terminate())
        }).pipe(Effect.timeout(patience), Effect.ignore)
      })
      const thunder = Effect.repeat(Effect.delay(drop(0.2), "20 millis"), { times: 100 })
      yield* Effect.all(
        [
          Effect.forEach(Array.from({ length: 240 }), () => request, { concurrency: 40 }),
          Effect.forEach(Array.from({ length: 120 }), () => socket, { concurrency: 20 }),
          thunder
        ],
        { concurrency: "unbounded" }
      )

      assert.isAbove(taken, 20)
      yield* eventually(() => connections.size === 0)
      const calm = yield* send(port, { method: "POST", body: "calm" })
      assert.strictEqual(calm.body, "calm")
      const client = new WebSocket(`ws://127.0.0.1:${port}/ws`)
      const echoed = yield* Effect.callback<string>((resume) => {
        client.on("open", () => client.send("calm"))
        client.on("message", (data) => resume(Effect.succeed(String(data))))
      })
      client.terminate()
      assert.strictEqual(echoed, "calm")
    })
  )
})
