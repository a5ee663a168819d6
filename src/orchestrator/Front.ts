/**
 * The one port that everybody comes to: finds out whom a request is for and who sent it, and has it forwarded to the
 * project's server or answered by the orchestrator itself.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Downstream from "../proxy/Downstream.ts"
import * as Listener from "../proxy/Listener.ts"
import * as Upload from "../proxy/Upload.ts"
import * as Caller from "./Caller.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { OwnEndpoints } from "./OwnEndpoints.ts"
import { ProjectFolders } from "./ProjectFolders.ts"
import * as Proxy from "./Proxy.ts"
import { type ProxyError, refusal, refusedAs, type Refusal } from "./ProxyError.ts"
import * as Answers from "./proxy/Answers.ts"
import { toServer } from "./proxy/RequestHeaders.ts"
import { isAmbiguous, mayUpgrade } from "./proxy/Strict.ts"
import * as Routes from "./Routes.ts"
import type { Supervisor, Unavailable } from "./Supervisor.ts"

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

      const callerOf = ({ request, socket }: Listener.Incoming) =>
        Caller.callerOf({ peer: socket.remoteAddress, headers: request.rawHeaders, loopbackOnly, trusted })

      const upgradeOf = ({ request, response }: Listener.Incoming) =>
        response === undefined ? (request.headers.upgrade ?? "") : undefined

      const routeInputOf = ({ request, response }: Listener.Incoming, { host }: Caller.Caller): Routes.RouteInput => ({
        method: request.method ?? "GET",
        target: request.url ?? "",
        host,
        upgrade: response === undefined
      })

      const toProject = (
        incoming: Listener.Incoming,
        caller: Caller.Caller,
        route: Routes.ToProject
      ): Proxy.Forwarding => {
        const { request, socket } = incoming
        const method = request.method ?? "GET"
        const upgrade = upgradeOf(incoming)
        const peer = Caller.bareAddress(socket.remoteAddress)
        const { prefix, project, target } = route
        return {
          use: {
            project,
            kind: upgrade === undefined ? "request" : "connection",
            client: caller.local ? null : caller.address
          },
          method,
          path: target,
          headers: toServer({
            method,
            headers: request.rawHeaders,
            caller,
            peer,
            peerTrusted: trusted(peer),
            prefix,
            upgrade
          }),
          sharesOrigin: prefix !== null,
          client: Downstream.make(incoming, listener.closing),
          upload: Upload.make(request)
        }
      }

      /** Its value, if any, is what is left to do once nothing but the connections matter. */
      const forward = (
        { request, socket }: Listener.Incoming,
        caller: Caller.Caller,
        forwarding: Proxy.Forwarding,
        first?: Proxy.Failure
      ) =>
        Effect.gen(function* () {
          const { client, upload } = forwarding
          const refuse = (error: ProxyError | Unavailable) =>
            Effect.as(Answers.refuse(client, request, caller.local, refusal(error)), undefined)
          const joined = yield* proxy
            .forward(forwarding, first)
            .pipe(Effect.catchTags({ ProxyError: refuse, Unavailable: refuse }))
          if (joined !== undefined) return joined
          if (upload.complete() || client.expectsContinue()) return undefined
          const cut = Effect.sync(() => socket.destroy())
          return () => Effect.timeoutOrElse(upload.over, { duration: lingering, orElse: () => cut })
        })

      /** Likewise. */
      const exchange = (incoming: Listener.Incoming) =>
        Effect.gen(function* () {
          const { request, response } = incoming
          const client = Downstream.make(incoming, listener.closing)
          const caller = callerOf(incoming)
          const refuse = (refusal: Refusal) => Answers.refuse(client, request, caller.local, refusal)
          if (isAmbiguous(request)) {
            yield* refuse(refusedAs(400, "The request does not say clearly where it is for or where it ends."))
            return undefined
          }
          const route = yield* routeOf(routeInputOf(incoming, caller))
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
            case "Project":
              return yield* forward(incoming, caller, toProject(incoming, caller, route))
          }
        })

      const scoped = (exchange: Effect.Effect<Downstream.Joined | undefined, never, Scope.Scope>) =>
        Effect.scoped(Effect.flatMap(exchange, (rest) => rest?.() ?? Effect.void))

      const handle = (incoming: Listener.Incoming) => scoped(exchange(incoming))

      /** The hot path: a request without a body for a server that runs. Fibers see to all else, its failures too. */
      const tryHandle: Listener.ListenerOptions["tryHandle"] = (incoming, rest) => {
        const { expectsContinue, request, response } = incoming
        if (expectsContinue || isAmbiguous(request)) return undefined
        if (response !== undefined && !Proxy.repeatable.has(request.method ?? "")) return undefined
        if (!Upload.isEmpty(request)) return undefined
        const caller = callerOf(incoming)
        const route = Routes.route(routeInputOf(incoming, caller), domain)
        if (route._tag !== "Project") return undefined
        const forwarding = toProject(incoming, caller, route)
        return proxy.tryForward(forwarding, rest, (failure) =>
          rest(scoped(forward(incoming, caller, forwarding, failure)))
        )
      }

      const { host, port } = config
      const listener: Listener.Listener = yield* Listener.listen({
        host,
        port,
        grace,
        upgrades: mayUpgrade,
        limits,
        handle,
        tryHandle
      })
      const shown = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host
      const url = `http://${shown.includes(":") ? `[${shown}]` : shown}:${listener.port}`
      return Front.of({ port: listener.port, url, refuse: listener.refuse })
    })
  )
}
