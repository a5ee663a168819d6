/**
 * The node listener. The router's synchronous path comes first: a request for a project that is up costs a look at a map
 * and one write. What the router has to wait for is one fiber, answered without the server that the plane's own paths
 * run in: for a route that is not cached that server costs as much again as all the rest.
 *
 * At shutdown it stops accepting, closes connections after their answer, gives requests in flight a while, releases the
 * ones that wait, and then closes what is left.
 */
import { createServer, type IncomingMessage, type Server as NodeServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { PlaneConfig } from "../config/PlaneConfig.ts"
import type { Answer } from "./Answer.ts"
import { InFlight, UnderWay } from "./InFlight.ts"
import { going, PlaneHttp } from "./PlaneHttp.ts"
import { Router } from "./router/Router.ts"

export class ListenError extends Schema.TaggedError<ListenError>()("ListenError", {
  host: Schema.String,
  port: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return `cannot listen on ${this.host}:${this.port}: ${this.detail}`
  }
  get retryable(): boolean {
    return false
  }
}

export interface ServerOptions {
  /** How long requests in flight may take after shutdown began. */
  readonly drainMs: number
}

/** Fly sends SIGKILL five minutes after SIGTERM at most; `fly.toml` has to allow this and the loops' end. */
const defaults: ServerOptions = { drainMs: 10_000 }
/** After the drain, for the 503s of what still waited to be written. */
const lastWordsMs = 1_000

/**
 * Longer than the idle limit of the proxies in front (Fly's and most others': 60 s), so that they close a connection
 * before we do and never send into one that is going.
 */
const keepAliveTimeoutMs = 75_000
const headersTimeoutMs = 20_000
/** Of receiving a whole request; bodies of more than 1 MB are not replayed anyway. */
const requestTimeoutMs = 60_000
/** Open sockets of one instance: most of them idle, some kilobytes each. */
const maxConnections = 50_000

export class Server extends Context.Service<Server, { readonly port: number; readonly host: string }>()(
  "valet/Server"
) {
  static readonly layer = (
    options: Partial<ServerOptions> = {}
  ): Layer.Layer<Server, ListenError, PlaneConfig | Router | PlaneHttp> =>
    Layer.effect(
      Server,
      Effect.suspend(() => make({ ...defaults, ...options }))
    )
}

/** A request whose answer has not been sent. */
class Unanswered extends UnderWay {
  readonly response: ServerResponse
  /** Tells it that the server goes; null where the router does not hold it. */
  release: (() => void) | null = null

  constructor(response: ServerResponse) {
    super()
    this.response = response
  }
}

/** Node would frame a body of unknown length in chunks. */
const framedHeaders = ({ body, headers }: Answer): Answer["headers"] =>
  body === "" ? headers : { ...headers, "content-length": String(Buffer.byteLength(body)) }

const listen = (server: NodeServer, host: string, port: number) =>
  Effect.callback<AddressInfo, ListenError>((resume) => {
    const fail = (detail: string) => resume(Effect.fail(new ListenError({ host, port, detail })))
    const onError = (error: Error) => fail(error.message)
    server.once("error", onError)
    server.listen({ host, port }, () => {
      server.off("error", onError)
      const address = server.address()
      if (address === null || typeof address === "string") fail("no address")
      else resume(Effect.succeed(address))
    })
  })

const closed = (server: NodeServer) =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeIdleConnections()
  })

const make = Effect.fnUntraced(function* (options: ServerOptions) {
  const config = yield* PlaneConfig
  const router = yield* Router
  const plane = yield* PlaneHttp
  // Requests run in a scope of their own, closed after the drain.
  const requests = yield* Effect.acquireRelease(Scope.make(), (scope, exit) => Scope.close(scope, exit))
  const handle = yield* NodeHttpServer.makeHandler(plane.httpEffect, { scope: requests })
  const run = Effect.runForkWith(yield* Effect.context())
  let draining = false
  const unanswered = new InFlight<Unanswered>()

  /** Asks the router; what is not its own, or fails in a way that nobody expects, is `otherwise`'s. */
  const ask = (
    request: IncomingMessage,
    waiting: Unanswered,
    reply: (answer: Answer) => void,
    otherwise: () => void
  ) => {
    const fiber = run(router.route(request))
    // Whoever asked is gone, or was answered.
    const leave = () => fiber.interruptUnsafe()
    waiting.response.once("close", leave)
    waiting.release = () => {
      reply(going)
      leave()
    }
    fiber.addObserver((exit) => {
      waiting.release = null
      waiting.response.off("close", leave)
      if (Exit.isFailure(exit)) return Cause.hasInterruptsOnly(exit.cause) ? undefined : otherwise()
      if (exit.value === null) otherwise()
      else reply(exit.value)
    })
  }

  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    if (draining) response.shouldKeepAlive = false
    const reply = (answer: Answer) => {
      response.writeHead(answer.status, framedHeaders(answer))
      response.end(request.method === "HEAD" ? undefined : answer.body)
    }
    const answer = router.tryRoute(request)
    if (answer !== undefined) return reply(answer)
    const waiting = new Unanswered(response)
    unanswered.add(waiting)
    response.once("close", () => unanswered.delete(waiting))
    ask(request, waiting, reply, () => handle(request, response))
  }

  const server = createServer({
    keepAliveTimeout: keepAliveTimeoutMs,
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs
  })
  server.maxConnections = maxConnections
  // Nothing listens for upgrades: here they are ordinary requests, whose answer is never another protocol.
  server.on("request", onRequest)

  const drain = Effect.gen(function* () {
    draining = true
    for (const { response } of unanswered.all()) response.shouldKeepAlive = false
    const down = yield* Effect.cached(closed(server))
    const inTime = yield* Effect.timeoutOption(down, options.drainMs)
    if (inTime._tag === "None") {
      for (const { release } of unanswered.all()) release?.()
      yield* plane.releaseWaiting
      yield* Effect.timeoutOption(down, lastWordsMs)
      yield* Effect.logWarning("requests were still open at the end of the drain")
      server.closeAllConnections()
    }
  })
  const address = yield* Effect.acquireRelease(listen(server, config.host, config.port), () => drain)
  return Server.of({ port: address.port, host: address.address })
})
