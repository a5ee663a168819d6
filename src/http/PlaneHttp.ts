/**
 * Everything that the control plane answers over HTTP, composed here and nowhere else:
 *
 *   router   /health, OPTIONS, /internal, projects by host or path
 *   guards   upgrades, methods, body size, defects, CORS      of the bare host's own paths:
 *     api         /api/…
 *     documents   /api/openapi.json, /api/docs
 *     probes      /health/ready, /metrics
 *     dashboard   /
 *
 * `httpEffect` serves under any Effect HTTP server; `Server` asks the router before it.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiScalar from "effect/http-api/HttpApiScalar"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { PlaneConfig } from "../config/PlaneConfig.ts"
import { Api } from "../contract/Api.ts"
import type { LoopStatus } from "../programs/background/LoopStatus.ts"
import type { Lifecycle } from "../programs/lifecycle/Lifecycle.ts"
import type { Machines } from "../services/db/Machines.ts"
import { Plane } from "../services/db/Plane.ts"
import { Projects } from "../services/db/Projects.ts"
import type { Keys } from "../services/Keys.ts"
import { problem, toResponse, withHeaders } from "./Answer.ts"
import { layerCommon, layerOperatorOnly, layerOwnerOrOperator } from "./api/Authorize.ts"
import { guarded, withProblems } from "./api/Guards.ts"
import { layerOperator } from "./api/OperatorHandlers.ts"
import { layerOwner } from "./api/OwnerHandlers.ts"
import { routeMetrics, routeReady } from "./api/Probes.ts"
import { layerProjects, layerRoutes } from "./api/ProjectHandlers.ts"
import { dashboard } from "./dashboard/Dashboard.ts"
import * as Breaker from "./router/Breaker.ts"
import { Router } from "./router/Router.ts"
import type { RouterRequest } from "./router/RouterRequest.ts"

export type PlaneHttpDependencies =
  | PlaneConfig
  | Router
  | Lifecycle
  | LoopStatus
  | Projects
  | Machines
  | Plane
  | Keys
  | SecureRandom.SecureRandom

export class PlaneHttp extends Context.Service<
  PlaneHttp,
  {
    readonly httpEffect: Effect.Effect<
      HttpServerResponse.HttpServerResponse,
      never,
      HttpServerRequest.HttpServerRequest | Scope.Scope
    >
    /** From now on requests that wait are answered with 503: the instance goes. */
    readonly releaseWaiting: Effect.Effect<void>
  }
>()("valet/PlaneHttp") {
  static readonly layer: Layer.Layer<PlaneHttp, never, PlaneHttpDependencies> = Layer.effect(
    PlaneHttp,
    Effect.suspend(() => make(Layer.merge(plane, viewer)))
  )
  /** Without the page at `/api/docs`, whose viewer is imported with the first look: by a promise, on a real event loop. */
  static readonly layerWithoutViewer: Layer.Layer<PlaneHttp, never, PlaneHttpDependencies> = Layer.effect(
    PlaneHttp,
    Effect.suspend(() => make(plane))
  )
}

const api = HttpApiBuilder.layer(Api, { openapiPath: "/api/openapi.json" }).pipe(
  Layer.provide([layerProjects, layerRoutes, layerOwner, layerOperator]),
  Layer.provide([layerOperatorOnly, layerOwnerOrOperator, layerCommon])
)

/**
 * The viewer comes with the page; its fonts would come from elsewhere, and are left out. It is three megabytes of source,
 * so it is loaded with the first look at it: an instance starts a seventh sooner without.
 */
const viewer = HttpRouter.use(
  Effect.fnUntraced(function* (router) {
    const scope = yield* Effect.scope
    const page = yield* HttpApiScalar.layer(Api, { path: "/api/docs", scalar: { withDefaultFonts: false } }).pipe(
      Layer.provide(HttpServer.layerServices),
      HttpRouter.toHttpEffect,
      Scope.provide(scope),
      Effect.uninterruptible,
      Effect.cached
    )
    yield* router.add("GET", "/api/docs", Effect.orDie(Effect.flatten(page)))
  })
)

const home = HttpRouter.add("GET", "/", toResponse(dashboard))

const plane = Layer.mergeAll(api, routeReady, routeMetrics, home)

/** What waits is told when the instance goes. */
export const going = withHeaders(
  problem({
    status: 503,
    code: "shutting_down",
    detail: "This instance is being replaced.",
    headers: { "retry-after": "1" }
  }),
  { connection: "close" }
)

const overloaded = problem({
  status: 503,
  code: "overloaded",
  detail: "Too many requests are running at this instance.",
  headers: { "retry-after": "1" }
})

const rawHeaders = (request: HttpServerRequest.HttpServerRequest): ReadonlyArray<string> => {
  const source = request.source
  return typeof source === "object" && "rawHeaders" in source && Array.isArray(source.rawHeaders)
    ? source.rawHeaders
    : Object.entries(request.headers).flat()
}

const rawTarget = (request: HttpServerRequest.HttpServerRequest): string => {
  const source = request.source
  return typeof source === "object" && "rawHeaders" in source && "url" in source && typeof source.url === "string"
    ? source.url
    : request.url
}

export const routerRequest = (request: HttpServerRequest.HttpServerRequest): RouterRequest => ({
  method: request.method,
  url: rawTarget(request),
  rawHeaders: rawHeaders(request)
})

type RequestServices = Projects | Plane | SecureRandom.SecureRandom

const make = Effect.fnUntraced(function* (pages: typeof plane) {
  const router = yield* Router
  // Of the builder's context these alone: a request's own services must not be those of another one.
  const services = Context.pick(Projects, Plane, SecureRandom.SecureRandom)(yield* Effect.context<RequestServices>())
  const released = yield* Deferred.make<void>()
  const breaker = yield* Breaker.make
  const routes = yield* HttpRouter.toHttpEffect(Layer.provide(pages, HttpServer.layerServices))
  const own = guarded(breaker.guard(routes, () => toResponse(overloaded)))

  const httpEffect = Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const answer = yield* router.route(routerRequest(request))
    return answer === null ? yield* own : toResponse(answer)
  }).pipe(
    withProblems,
    Effect.raceFirst(Effect.as(Deferred.await(released), toResponse(going))),
    Effect.provideContext(services)
  )
  return PlaneHttp.of({
    httpEffect,
    releaseWaiting: Effect.asVoid(Deferred.succeed(released, undefined))
  })
})
