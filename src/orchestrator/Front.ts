/**
 * The one port that everybody comes to: finds out whom a request is for and who sent it, and has it forwarded to the
 * project's server or answered by the orchestrator itself.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Downstream from "../proxy/Downstream.ts"
import * as Listener from "../proxy/Listener.ts"
import * as Upload from "../proxy/Upload.ts"
import * as Caller from "./Caller.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { OwnEndpoints } from "./OwnEndpoints.ts"
import { ProjectFolders } from "./ProjectFolders.ts"
import * as Proxy from "./Proxy.ts"
import { refusal, refusedAs, type Refusal } from "./ProxyError.ts"
import * as Answers from "./proxy/Answers.ts"
import { toServer } from "./proxy/RequestHeaders.ts"
import { isAmbiguous, mayUpgrade } from "./proxy/Strict.ts"
import * as Routes from "./Routes.ts"
import type { Supervisor } from "./Supervisor.ts"

/** For requests that still run when the scope ends. */
const grace = "10 seconds"

const limits: Listener.ListenerLimits = {
  headersTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  maxConnections: 100_000,
  maxPipelined: 256,
  tcpKeepAliveMs: 30_000
}

/** For a client that still uploads when it has its answer: until it is cut. */
const lingering = "30 seconds"

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

      /** Its value, if any, is what is left to do once nothing but the connections matter. */
      const exchange = (incoming: Listener.Incoming) =>
        Effect.gen(function* () {
          const { request, response, socket } = incoming
          const headers = request.rawHeaders
          const client = Downstream.make(incoming, listener.closing)
          const caller = Caller.callerOf({ peer: socket.remoteAddress, headers, loopbackOnly, trusted })
          const refuse = (refusal: Refusal) => Answers.refuse(client, request, caller.local, refusal)
          if (isAmbiguous(request)) {
            yield* refuse(refusedAs(400, "The request does not say clearly where it is for or where it ends."))
            return undefined
          }
          const method = request.method ?? "GET"
          const upgrade = response === undefined ? (request.headers.upgrade ?? "") : undefined
          const route = yield* routeOf({
            method,
            target: request.url ?? "",
            host: caller.host,
            upgrade: upgrade !== undefined
          })
          switch (route._tag) {
            case "Refused":
              yield* refuse(refusedAs(route.status, route.detail))
              return undefined
            case "Redirect":
              client.answer({ status: 308, headers: { location: route.location }, body: "" })
              return undefined
            case "Own":
              if (response === undefined) yield* refuse(refusedAs(404, "There is nothing to upgrade to."))
              else {
                client.sendContinue()
                yield* own.handle({ request, response, caller })
              }
              return undefined
          }
          const upload = Upload.make(request)
          const peer = Caller.bareAddress(socket.remoteAddress)
          const peerTrusted = trusted(peer)
          const { prefix, project, target } = route
          const joined = yield* proxy
            .forward({
              use: {
                project,
                kind: upgrade === undefined ? "request" : "connection",
                client: caller.local ? null : caller.address
              },
              method,
              path: target,
              headers: toServer({ method, headers, caller, peer, peerTrusted, prefix, upgrade }),
              sharesOrigin: prefix !== null,
              client,
              upload
            })
            .pipe(
              Effect.catchTags({
                ProxyError: (error) => Effect.as(refuse(refusal(error)), undefined),
                Unavailable: (error) => Effect.as(refuse(refusal(error)), undefined)
              })
            )
          if (joined !== undefined) return joined
          if (upload.complete() || client.expectsContinue()) return undefined
          const cut = Effect.sync(() => socket.destroy())
          return () => Effect.timeoutOrElse(upload.over, { duration: lingering, orElse: () => cut })
        })

      const handle = (incoming: Listener.Incoming) =>
        Effect.scoped(Effect.flatMap(exchange(incoming), (rest) => rest?.() ?? Effect.void))

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
