/** Servers of projects, in the test's own process. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import { WebSocketServer, type ServerOptions, type WebSocket } from "ws"

export interface Child {
  readonly port: number
  /** Open now. */
  readonly sockets: ReadonlySet<net.Socket>
  /** How many connections were accepted so far. */
  readonly accepted: () => number
}

const listening = <S extends net.Server>(
  make: () => S
): Effect.Effect<Child & { readonly server: S }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Child & { readonly server: S }>((resume) => {
      const sockets = new Set<net.Socket>()
      let accepted = 0
      const server = make()
      server.on("connection", (socket: net.Socket) => {
        accepted += 1
        sockets.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => sockets.delete(socket))
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = address !== null && typeof address === "object" ? address.port : 0
        resume(Effect.succeed({ port, sockets, accepted: () => accepted, server }))
      })
    }),
    ({ server, sockets }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  )

/** Speaks HTTP as Node does. */
export const httpChild = (
  handler: http.RequestListener,
  setUp: (server: http.Server) => void = () => {}
): Effect.Effect<Child, never, Scope.Scope> =>
  listening(() => {
    const server = http.createServer(
      { requireHostHeader: false, keepAliveTimeout: 600_000, requestTimeout: 0 },
      handler
    )
    setUp(server)
    return server
  })

/** Does with each connection what the test says; half-closes stay half. */
export const rawChild = (
  onConnection: (socket: net.Socket, number: number) => void
): Effect.Effect<Child, never, Scope.Scope> => {
  let number = 0
  return listening(() =>
    net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => onConnection(socket, (number += 1)))
  )
}

/** What a child saw of a request, as it answers it. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly rawHeaders: ReadonlyArray<string>
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
  readonly trailers: NodeJS.Dict<string>
}

/** Records every byte that reaches it and every request that it understands, and answers `seen <n>`. */
export const recordingChild = Effect.gen(function* () {
  const bytes: Array<Buffer> = []
  const seen: Array<Seen> = []
  const child = yield* httpChild(
    (request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("error", () => {})
      request.on("end", () => {
        const { headers, method = "", rawHeaders, trailers, url = "" } = request
        seen.push({ method, url, rawHeaders, headers, trailers, body: Buffer.concat(chunks).toString("latin1") })
        response.end(`seen ${seen.length}`)
      })
    },
    (server) =>
      // Behind Node's own listener: Node then leaves the reading of the socket to its stream, where both see it.
      server.on("connection", (socket: net.Socket) => socket.on("data", (chunk: Buffer) => bytes.push(chunk)))
  )
  return { ...child, seen, bytes: () => Buffer.concat(bytes).toString("latin1") }
})

/** Speaks WebSocket by `ws`; plain requests get 426. */
export const wsChild = (
  onSocket: (socket: WebSocket, request: http.IncomingMessage) => void,
  options: ServerOptions = {}
): Effect.Effect<Child, never, Scope.Scope> =>
  httpChild(
    (_, response) => void response.writeHead(426).end("upgrade required"),
    (server) => {
      const sockets = new WebSocketServer({ maxPayload: 64 * 1024 * 1024, ...options, server })
      sockets.on("connection", (socket, request) => {
        socket.on("error", () => {})
        onSocket(socket, request)
      })
    }
  )
