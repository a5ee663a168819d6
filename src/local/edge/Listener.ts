/**
 * A loopback HTTP listener whose requests are fibers: a client that goes away interrupts its request, and the end of
 * the scope lets those that run finish within a grace before it ends them with their connections.
 */
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as FiberSet from "effect/FiberSet"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"

export class ListenError extends Schema.TaggedError<ListenError>()("ListenError", {
  host: Schema.String,
  port: Schema.Int,
  cause: Schema.Defect()
}) {
  override get message() {
    return `can't listen on ${this.host}:${this.port}: ${String(this.cause)}`
  }
}

export interface Incoming {
  readonly request: http.IncomingMessage
  readonly socket: Socket
  /** Absent for an upgrade, whose first bytes are then in `head`. */
  readonly response: http.ServerResponse | undefined
  readonly head: Buffer
  readonly expectsContinue: boolean
  /** From here on the request does not end with its socket, but sees to both ends itself. */
  readonly takeOver: () => void
}

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** For requests and open upgrades at the end of the scope. */
  readonly grace: Duration.Input
  readonly upgrades: boolean
  /** Answers the request itself; its failures are logged and cut the connection. */
  readonly handle: (incoming: Incoming) => Effect.Effect<void>
}

export interface Listener {
  readonly port: number
  readonly closing: () => boolean
  readonly sockets: ReadonlySet<Socket>
}

const hasBody = ({ headers }: http.IncomingMessage) =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

export const listen = (options: ListenerOptions): Effect.Effect<Listener, ListenError, Scope.Scope> =>
  Effect.gen(function* () {
    const { host, port, handle } = options
    const sockets = new Set<Socket>()
    let closing = false

    const server = http.createServer({
      // What a host means is decided behind the listener, nonsense and absence included.
      requireHostHeader: false,
      // The bytes behind an upgrade belong to the new protocol; a request that still has a body is an ordinary one.
      shouldUpgradeCallback: (request) => options.upgrades && !hasBody(request)
    })
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
    })

    // Before the fibers, so that it runs after they have ended.
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
    )
    const fibers = yield* FiberSet.make<void>()
    const run = yield* FiberSet.runtime(fibers)()
    const serve = (incoming: Omit<Incoming, "takeOver">) => {
      const { response, socket } = incoming
      let taken = false
      const takeOver = () => {
        taken = true
      }
      const fiber = run(
        handle({ ...incoming, takeOver }).pipe(
          Effect.tapDefect((defect) => Effect.logError("request failed", defect)),
          Effect.onExit((exit) => (exit._tag === "Success" ? Effect.void : Effect.sync(() => socket.destroy())))
        )
      )
      const gone = response ?? socket
      gone.once("close", () => {
        if (!taken && response?.writableFinished !== true) fiber.interruptUnsafe()
      })
    }
    const head = Buffer.alloc(0)
    const requested = (expectsContinue: boolean) => (request: http.IncomingMessage, response: http.ServerResponse) => {
      response.on("error", () => {})
      serve({ request, socket: request.socket, response, head, expectsContinue })
    }
    server.on("request", requested(false))
    server.on("checkContinue", requested(true))
    if (options.upgrades) {
      server.on("upgrade", (request: http.IncomingMessage, _socket: Duplex, head: Buffer) => {
        serve({ request, socket: request.socket, response: undefined, head, expectsContinue: false })
      })
    }

    yield* Effect.callback<void, ListenError>((resume) => {
      const failed = (cause: Error) => resume(Effect.fail(new ListenError({ host, port, cause })))
      server.once("error", failed)
      server.listen({ host, port }, () => {
        server.off("error", failed)
        server.on("error", () => {})
        resume(Effect.void)
      })
    })
    // First of all at the end: no new connections, idle ones closed, the others until the grace is over.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closing = true
        server.close()
      }).pipe(Effect.andThen(FiberSet.awaitEmpty(fibers)), Effect.timeoutOption(options.grace), Effect.asVoid)
    )
    const address = server.address()
    return {
      port: address !== null && typeof address === "object" ? address.port : port,
      closing: () => closing,
      sockets
    }
  })
