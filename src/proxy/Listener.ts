/**
 * An HTTP listener whose requests are fibers, but for those that need none: a client that goes away ends its request, and
 * the end of the scope lets those that run finish within a grace before it ends them with their connections.
 */
import * as Deferred from "effect/Deferred"
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
  /** Absent for an upgrade. */
  readonly response: http.ServerResponse | undefined
  readonly expectsContinue: boolean
  /**
   * For an upgrade: answers what the client has sent behind its request. From then on the request does not end with its
   * socket, but sees to both ends itself.
   */
  readonly takeOver: () => Buffer
}

/** What a client may send behind an upgrade request before it is answered. */
const earlyLimitBytes = 64 * 1024

export interface ListenerLimits {
  /** For the head of a request. */
  readonly headersTimeoutMs: number
  /** For a connection between two requests. */
  readonly keepAliveTimeoutMs: number
  /** Open at a time; more are closed at once. */
  readonly maxConnections: number
  /** Requests of one connection that are not answered yet; it is closed at the next one. */
  readonly maxPipelined: number
  /** Of silence, until the system asks whether the peer is still there. */
  readonly tcpKeepAliveMs: number
}

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** For requests that run at the end of the scope; upgraded connections end at once. */
  readonly grace: Duration.Input
  /** Which requests for another protocol may have it; the others are ordinary ones. */
  readonly upgrades: boolean | ((request: http.IncomingMessage) => boolean)
  /** Node's defaults where absent. */
  readonly limits?: ListenerLimits
  /** Answers the request itself; its failures are logged and cut the connection. */
  readonly handle: (incoming: Incoming) => Effect.Effect<void>
  /**
   * Does it without a fiber, which costs more than all else of a short exchange; undefined: `handle` does it. `rest` is
   * called at its end, once counts: with an effect where one has to see to the request after all. What it returns is called when
   * the client goes away before that; not for one that took an upgrade over.
   */
  readonly tryHandle?: (incoming: Incoming, rest: Rest) => (() => void) | undefined
}

export interface Listener {
  readonly port: number
  readonly closing: () => boolean
  readonly sockets: ReadonlySet<Socket>
  /** No new connections; those without a request are closed, upgraded ones stay. The end of the scope begins with it. */
  readonly refuse: Effect.Effect<void>
}

interface GiveUp {
  now: () => void
}

export type Rest = (effect?: Effect.Effect<void>) => void

const ignore = () => {}

/** No fiber catches what it throws: Node would end the process, and with it every other request. */
const attempt = (tryHandle: NonNullable<ListenerOptions["tryHandle"]>, incoming: Incoming, rest: Rest) => {
  try {
    return tryHandle(incoming, rest)
  } catch (defect) {
    rest(Effect.die(defect))
    return ignore
  }
}

const hasBody = ({ headers }: http.IncomingMessage) =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

export const listen = (options: ListenerOptions): Effect.Effect<Listener, ListenError, Scope.Scope> =>
  Effect.gen(function* () {
    const { handle, host, limits, port, tryHandle, upgrades } = options
    const sockets = new Set<Socket>()
    /** Requests in progress; a socket without one need not be waited for. */
    const active = new Map<Socket, number>()
    const joined = new WeakSet<Socket>()
    let closing = false

    const server = http.createServer({
      insecureHTTPParser: false,
      ...(limits === undefined
        ? {}
        : {
            // A body may take as long as it takes.
            requestTimeout: 0,
            headersTimeout: limits.headersTimeoutMs,
            keepAliveTimeout: limits.keepAliveTimeoutMs,
            keepAlive: true,
            keepAliveInitialDelay: limits.tcpKeepAliveMs
          }),
      // What a host means is decided behind the listener, nonsense and absence included.
      requireHostHeader: false,
      // The bytes behind an upgrade belong to the new protocol; a request that still has a body is an ordinary one.
      shouldUpgradeCallback: (request) =>
        (typeof upgrades === "function" ? upgrades(request) : upgrades) && !hasBody(request)
    })
    // Their size has a limit; by number, older versions of Node leave out the last ones, which may be those of framing.
    server.maxHeadersCount = 0
    if (limits !== undefined) server.maxConnections = limits.maxConnections
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        active.delete(socket)
      })
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
    const count = (socket: Socket, by: number) => {
      const running = (active.get(socket) ?? 0) + by
      if (running <= 0) active.delete(socket)
      else if (sockets.has(socket)) active.set(socket, running)
    }
    /** Under way without a fiber. */
    let quick = 0
    let lastQuick: Deferred.Deferred<void> | undefined
    const forked = (socket: Socket, effect: Effect.Effect<void>) => {
      const fiber = run(
        effect.pipe(
          Effect.tapDefect((defect) => Effect.logError("request failed", defect)),
          Effect.onExit((exit) => (exit._tag === "Success" ? Effect.void : Effect.sync(() => socket.destroy()))),
          Effect.ensuring(Effect.sync(() => count(socket, -1)))
        )
      )
      return () => fiber.interruptUnsafe()
    }
    /** Apart from what is known of the request: a joined connection may hold on to this for days. */
    const restOf = (socket: Socket, giveUp: GiveUp): Rest => {
      quick += 1
      let called = false
      return (effect) => {
        if (called) return
        called = true
        // A fiber that takes over is there before this one is gone.
        if (effect === undefined) count(socket, -1)
        else giveUp.now = forked(socket, effect)
        quick -= 1
        if (quick === 0 && lastQuick !== undefined) Deferred.doneUnsafe(lastQuick, Effect.void)
      }
    }
    /** What it returns is for a client that goes away. */
    const start = (incoming: Incoming): GiveUp => {
      const { socket } = incoming
      // Here, so that the next one of the same read sees it.
      count(socket, 1)
      const giveUp: GiveUp = { now: ignore }
      if (tryHandle !== undefined) {
        const rest = restOf(socket, giveUp)
        const own = attempt(tryHandle, incoming, rest)
        if (own !== undefined) {
          if (giveUp.now === ignore) giveUp.now = own
          return giveUp
        }
        quick -= 1
      }
      giveUp.now = forked(socket, handle(incoming))
      return giveUp
    }
    const maxPipelined = limits?.maxPipelined ?? Number.POSITIVE_INFINITY
    const requested = (expectsContinue: boolean) => (request: http.IncomingMessage, response: http.ServerResponse) => {
      if ((active.get(request.socket) ?? 0) >= maxPipelined) return void request.socket.destroy()
      response.on("error", () => {})
      const takeOver = () => Buffer.alloc(0)
      const giveUp = start({ request, socket: request.socket, response, expectsContinue, takeOver })
      response.once("close", () => {
        if (!response.writableFinished) giveUp.now()
      })
    }
    const upgraded = (request: http.IncomingMessage, head: Buffer) => {
      const { socket } = request
      const early = [head]
      let size = head.length
      // A socket that nobody reads never tells that its client has gone.
      const onData = (chunk: Buffer) => {
        early.push(chunk)
        size += chunk.length
        if (size > earlyLimitBytes) socket.pause()
      }
      const onGone = () => {
        giveUp.now()
        // Its end alone is not that of the connection.
        socket.destroy()
      }
      const takeOver = () => {
        // Nothing says when it will be over: the end of the scope does not wait for it.
        active.delete(socket)
        joined.add(socket)
        // It would keep all that is known of the request for as long as the connection.
        giveUp.now = ignore
        socket.pause().off("data", onData).off("end", onGone).off("close", onGone)
        return Buffer.concat(early)
      }
      socket.on("data", onData).once("end", onGone).once("close", onGone)
      const giveUp = start({ request, socket, response: undefined, expectsContinue: false, takeOver })
    }
    server.on("request", requested(false))
    server.on("checkContinue", requested(true))
    // Without a listener Node ends the connection in silence.
    server.on("connect", (_request: http.IncomingMessage, socket: Duplex) => {
      socket.resume().end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", () => socket.destroy())
    })
    if (upgrades !== false) {
      server.on("upgrade", (request: http.IncomingMessage, _socket: Duplex, head: Buffer) => upgraded(request, head))
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
    const endIdle = (joinedToo: boolean) =>
      Effect.sync(() => {
        closing = true
        server.close()
        // Node counts a connection that has not sent anything yet as busy.
        for (const socket of sockets) {
          if (!active.has(socket) && (joinedToo || !joined.has(socket))) socket.destroy()
        }
      })
    const quickOver = Effect.suspend(() => {
      if (quick === 0) return Effect.void
      lastQuick = Deferred.makeUnsafe()
      return Deferred.await(lastQuick)
    })
    // First of all at the end: no new connections, idle ones closed, the others until the grace is over.
    yield* Effect.addFinalizer(() =>
      endIdle(true).pipe(
        Effect.andThen(quickOver),
        Effect.andThen(FiberSet.awaitEmpty(fibers)),
        Effect.timeoutOption(options.grace),
        Effect.asVoid
      )
    )
    const address = server.address()
    return {
      port: address !== null && typeof address === "object" ? address.port : port,
      closing: () => closing,
      sockets,
      refuse: endIdle(false)
    }
  })
