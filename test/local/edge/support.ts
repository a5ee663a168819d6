import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import { Edge, type ControlPlane, type EdgeOptions } from "../../../src/local/edge/Edge.ts"
import { LocalMachines, type LocalTarget } from "../../../src/local/fly/LocalMachines.ts"

export const routerApp = "valet"
export const projectApp = "projects"

/** A node:http server on a free port, gone with the scope. */
export const serve = (
  handler: http.RequestListener,
  setUp: (server: http.Server) => void = () => {}
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<http.Server>((resume) => {
        const server = http.createServer({ requireHostHeader: false, keepAliveTimeout: 60_000 }, handler)
        const sockets = new Set<net.Socket>()
        server.on("connection", (socket: net.Socket) => {
          sockets.add(socket)
          socket.on("error", () => {})
          socket.on("close", () => sockets.delete(socket))
        })
        stop.set(server, () => {
          for (const socket of sockets) socket.destroy()
        })
        setUp(server)
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          stop.get(server)?.()
        })
    ),
    portOf
  )
const stop = new WeakMap<http.Server, () => void>()

const portOf = (server: net.Server): number => {
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("no port")
  return address.port
}

/** A port on which nobody listens. */
export const closedPort: Effect.Effect<number> = Effect.scoped(serve(() => {}))

/** Machines as plain values; `start` says what an autostart does. */
export const fakeMachines = (
  start: (machine: LocalTarget) => Effect.Effect<Partial<LocalTarget> | null> = () => Effect.succeed(null)
) => {
  const machines = new Map<string, LocalTarget>()
  const started: Array<string> = []
  const found: Array<string> = []
  const put = (machine: Partial<LocalTarget> & { readonly id: string }) => {
    const before = machines.get(machine.id)
    machines.set(machine.id, {
      app: projectApp,
      region: "local",
      state: "started",
      port: null,
      autostart: true,
      leased: false,
      ...before,
      ...machine
    })
  }
  const layer = Layer.succeed(LocalMachines, {
    find: (id) =>
      Effect.sync(() => {
        found.push(id)
        return machines.get(id) ?? null
      }),
    ofApp: (app) => Effect.sync(() => [...machines.values()].filter((machine) => machine.app === app)),
    autostart: (id) =>
      Effect.gen(function* () {
        started.push(id)
        const machine = machines.get(id)
        const change = machine === undefined ? null : yield* start(machine)
        if (change !== null) put({ id, ...change })
        return change !== null
      })
  })
  return { put, layer, started, found, machines }
}

export type Machines = ReturnType<typeof fakeMachines>

/** The edge over live control planes (a list that a test may change) and fake machines. */
export const edge = (
  planes: Array<ControlPlane>,
  machines: Machines = fakeMachines(),
  options: Partial<EdgeOptions> = {}
) =>
  Layer.build(
    Edge.layer({
      routerApp,
      apps: [projectApp],
      planes: Effect.sync(() => [...planes]),
      drainGrace: "2 seconds",
      ...options
    }).pipe(Layer.provide([machines.layer, SecureRandom.layerWebCrypto]))
  ).pipe(Effect.map((context) => Context.get(context, Edge)))

export const plane = (port: number, id = "plane1"): ControlPlane => ({ id, url: `http://127.0.0.1:${port}` })

/** A control plane that answers with this `fly-replay`, or with what the function says. */
export const router = (replay: string | ((request: http.IncomingMessage) => string | undefined)) =>
  serve((request, response) => {
    const value = typeof replay === "string" ? replay : replay(request)
    request.resume()
    if (value === undefined) return response.writeHead(200).end(`router ${JSON.stringify(request.headers)}`)
    return response.writeHead(307, { "fly-replay": value }).end()
  })

export interface Reply {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly rawHeaders: ReadonlyArray<string>
  readonly trailers: NodeJS.Dict<string>
  readonly body: string
}

export interface Send {
  readonly method?: string
  readonly path?: string
  readonly headers?: http.OutgoingHttpHeaders
  readonly body?: string | Buffer | ReadonlyArray<string | Buffer>
  readonly trailers?: Readonly<Record<string, string>>
  readonly agent?: http.Agent
}

/** A whole request and its whole answer; fails with Node's error where the connection breaks. */
export const send = (port: number, options: Send = {}): Effect.Effect<Reply, Error> =>
  Effect.callback((resume) => {
    const { agent = false, body, headers, method = "GET", path = "/", trailers } = options
    const request = http.request({ host: "127.0.0.1", port, method, path, headers: headers ?? {}, agent })
    const fail = (error: Error) => resume(Effect.fail(error))
    request.on("error", fail)
    request.on("response", (response) => {
      const chunks: Array<Buffer> = []
      response.on("error", fail)
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8")
        const { headers, rawHeaders, statusCode = 0, trailers } = response
        resume(Effect.succeed({ status: statusCode, headers, rawHeaders, trailers, body: text }))
      })
    })
    if (Array.isArray(body)) for (const part of body) request.write(part)
    else if (typeof body === "string" || Buffer.isBuffer(body)) request.write(body)
    if (trailers !== undefined) request.addTrailers(trailers)
    request.end()
    return Effect.sync(() => request.destroy())
  })

/** Bytes in, bytes out, until the peer closes. */
export const raw = (port: number, bytes: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
    socket.on("error", () => {})
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1")
    })
    socket.on("end", () => socket.end())
    socket.on("close", () => resume(Effect.succeed(text)))
    socket.write(bytes, "latin1")
    return Effect.sync(() => socket.destroy())
  })

/** Looks until it holds; at most ten seconds. */
export const eventually = (condition: () => boolean): Effect.Effect<void, string> =>
  Effect.suspend(() => (condition() ? Effect.void : Effect.fail("condition never held"))).pipe(
    Effect.retry({ times: 1000, schedule: Schedule.spaced("10 millis") })
  )

/** Waits until a number has not changed for a third of a second. */
export const settled = (value: () => number): Effect.Effect<number, string> => {
  let last = Number.NaN
  let same = 0
  return eventually(() => {
    same = value() === last ? same + 1 : 0
    last = value()
    return same > 30
  }).pipe(Effect.map(() => last))
}
