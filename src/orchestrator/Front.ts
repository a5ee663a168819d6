/**
 * The one port that everybody comes to: finds out whom a request is for and who sent it, and has it forwarded to the
 * project's server or answered by the orchestrator itself.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type { IncomingMessage } from "node:http"
import { isNavigation } from "../http/router/RouterRequest.ts"
import * as Downstream from "../proxy/Downstream.ts"
import { values } from "../proxy/Headers.ts"
import * as Listener from "../proxy/Listener.ts"
import * as Upload from "../proxy/Upload.ts"
import * as Caller from "./Caller.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { OwnEndpoints } from "./OwnEndpoints.ts"
import { ProjectFolders } from "./ProjectFolders.ts"
import * as Proxy from "./Proxy.ts"
import { refusal, type Refusal } from "./ProxyError.ts"
import * as Answers from "./proxy/Answers.ts"
import { toServer } from "./proxy/RequestHeaders.ts"
import * as Routes from "./Routes.ts"
import type { Supervisor } from "./Supervisor.ts"

/** For requests that still run when the scope ends. */
const grace = "10 seconds"

const limits: Listener.ListenerLimits = {
  headersTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  maxConnections: 100_000,
  tcpKeepAliveMs: 30_000
}

/** For a client that still uploads when it has its answer: until it is cut. */
const lingering = "30 seconds"

/**
 * Any protocol but those in which a client could ask a server for paths that nobody here would see: HTTP/2 over the same
 * connection, or TLS within it.
 */
const mayUpgrade = ({ headers }: IncomingMessage) =>
  !/(?:^|[\s,])(?:h2c?|https?|tls)(?:$|[\s,/])/i.test(headers.upgrade ?? "")

const single = (request: IncomingMessage, name: string) => {
  const found = values(request.rawHeaders, name)
  return found.length > 1 ? undefined : (found[0] ?? null)
}

/** What Node's parser lets through, but servers read in different ways. */
const isAmbiguous = (request: IncomingMessage): boolean => {
  const host = single(request, "host")
  const encoding = single(request, "transfer-encoding")
  const length = single(request, "content-length")
  return (
    host === undefined ||
    (host === null && request.httpVersion !== "1.0") ||
    encoding === undefined ||
    (encoding !== null && encoding.trim().toLowerCase() !== "chunked") ||
    length === undefined ||
    (length !== null && (encoding !== null || !/^\d{1,15}$/.test(length.trim())))
  )
}

export class Front extends Context.Service<
  Front,
  {
    readonly port: number
    readonly url: string
    /**
     * Takes no more connections and closes those without a request; open WebSockets stay. The first step of a shutdown:
     * the next one has the servers end theirs, and only then this layer's scope may close, which cuts what is left.
     */
    readonly refuse: Effect.Effect<void>
  }
>()("valet/Front") {
  static readonly layer: Layer.Layer<
    Front,
    Listener.ListenError,
    OrchestratorConfig | OwnEndpoints | ProjectFolders | Supervisor
  > = Layer.effect(
    Front,
    Effect.gen(function* () {
      const config = yield* OrchestratorConfig
      const folders = yield* ProjectFolders
      const own = yield* OwnEndpoints
      const proxy = yield* Proxy.make
      const domain = config.domain.toLowerCase()
      const loopbackOnly = config.host === "localhost" || Caller.isLoopback(config.host)
      const trusted = yield* Effect.fromResult(Caller.trusted(config.trustedProxies)).pipe(
        Effect.mapError((detail) => new Error(`trusted proxies: ${detail}`)),
        Effect.orDie
      )

      const routeOf = (input: Routes.RouteInput) => {
        const route = Routes.route(input, domain)
        if (route._tag !== "Lookup") return Effect.succeed(route)
        return Effect.map(folders.ofHost(route.host), (project) => Routes.lookedUp(project, route.host, input, domain))
      }

      const refuse = (incoming: Listener.Incoming, client: Downstream.Downstream, local: boolean, failure: Refusal) =>
        Effect.gen(function* () {
          const { request } = incoming
          const faulty = failure.status >= 500
          const errorId = faulty && !local ? (yield* Random.nextIntBetween(2 ** 30, 2 ** 31)).toString(36) : undefined
          const log = faulty ? Effect.logWarning : Effect.logDebug
          yield* log(`${failure.code}: ${failure.cause}`).pipe(
            Effect.annotateLogs(errorId === undefined ? {} : { errorId })
          )
          const details = local && failure.cause !== failure.detail ? failure : { cause: undefined, output: [] }
          client.answer(Answers.refused(failure, { ...details, errorId }, isNavigation(request)))
        })

      const handle = (incoming: Listener.Incoming) =>
        Effect.gen(function* () {
          const { request, response, socket } = incoming
          const client = Downstream.make(incoming, listener.closing)
          const upload = Upload.make(request)
          const method = request.method ?? "GET"
          const upgrade = response === undefined ? (request.headers.upgrade ?? "") : undefined
          const caller = Caller.callerOf({
            peer: socket.remoteAddress,
            headers: request.rawHeaders,
            loopbackOnly,
            trusted
          })
          const plain = (status: number, code: string, detail: string): Refusal => ({
            status,
            code,
            detail,
            retryAfterSeconds: null,
            cause: detail,
            output: []
          })
          const fail = (failure: Refusal) => refuse(incoming, client, caller.local, failure)
          if (isAmbiguous(request)) {
            yield* fail(plain(400, "bad_request", "The request's headers contradict each other."))
            return socket.destroySoon()
          }
          const route = yield* routeOf({
            method,
            target: request.url ?? "",
            host: caller.host,
            upgrade: upgrade !== undefined
          })
          switch (route._tag) {
            case "Refused":
              return yield* fail(plain(route.status, route.status === 400 ? "bad_request" : "not_found", route.detail))
            case "Redirect":
              return client.answer({ status: 308, headers: { location: route.location }, body: "" })
            case "Own":
              if (response === undefined) return yield* fail(plain(404, "not_found", "There is nothing to upgrade to."))
              if (incoming.expectsContinue) client.sendContinue()
              return yield* own.handle({ request, response, caller })
          }
          const peer = Caller.bareAddress(socket.remoteAddress)
          yield* proxy
            .forward({
              use: {
                project: route.project,
                kind: upgrade === undefined ? "request" : "connection",
                client: caller.local ? null : caller.address
              },
              method,
              path: route.target,
              headers: toServer({
                method,
                headers: request.rawHeaders,
                caller,
                peer,
                peerTrusted: trusted(peer),
                prefix: route.prefix,
                upgrade
              }),
              client,
              upload
            })
            .pipe(
              Effect.catchTags({
                ProxyError: (error) => fail(refusal(error)),
                Unavailable: (error) => fail(refusal(error))
              })
            )
          if (upload.complete() || response === undefined) return
          upload.discard()
          yield* Effect.timeoutOrElse(upload.over, {
            duration: lingering,
            orElse: () => Effect.sync(() => socket.destroy())
          })
        })

      const { host, port } = config
      const listener: Listener.Listener = yield* Listener.listen({
        host,
        port,
        grace,
        upgrades: mayUpgrade,
        limits,
        handle
      })
      const shown = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host
      const url = `http://${shown.includes(":") ? `[${shown}]` : shown}:${listener.port}`
      return Front.of({ port: listener.port, url, refuse: listener.refuse })
    })
  )
}
