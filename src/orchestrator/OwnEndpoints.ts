/**
 * What the orchestrator answers itself, beside its projects:
 *
 *   /  /health                        everybody
 *   /status  /metrics  …/logs         this machine's users, and the admin token from elsewhere
 *   /api/projects…                    the admin token
 *   /ask                              the proxy in front, on this machine
 *   /internal/keep-awake              the servers, with their own tokens
 *
 * No answer may be read or framed by a page of another site.
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import { isHttpServerError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type { IncomingMessage, ServerResponse } from "node:http"
import { json, problem, toResponse, withHeaders } from "../http/Answer.ts"
import { metrics as metricsAnswer } from "../http/Exposition.ts"
import type { Caller } from "./Caller.ts"
import { prefersHtml } from "./endpoints/Accept.ts"
import * as Access from "./endpoints/Access.ts"
import * as Ask from "./endpoints/Ask.ts"
import { maxBodyBytes } from "./endpoints/Body.ts"
import { CurrentCaller } from "./endpoints/CurrentCaller.ts"
import { type Endpoint, type Handler, route } from "./endpoints/Endpoint.ts"
import * as KeepAwake from "./endpoints/KeepAwake.ts"
import { metrics } from "./endpoints/Metrics.ts"
import * as ProjectEndpoints from "./endpoints/ProjectEndpoints.ts"
import { notFound } from "./endpoints/Refused.ts"
import * as Status from "./endpoints/Status.ts"
import { statusPage } from "./endpoints/StatusPage.ts"
import type { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { OrchestratorFolder } from "./OrchestratorFolder.ts"
import type { ProjectFolders } from "./ProjectFolders.ts"
import type { Supervisor } from "./Supervisor.ts"

export interface OwnRequest {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly caller: Caller
}

export class OwnEndpoints extends Context.Service<
  OwnEndpoints,
  {
    /** Answers whatever it is; never fails. */
    handle(request: OwnRequest): Effect.Effect<void>
  }
>()("valet/OwnEndpoints") {
  static readonly layer: Layer.Layer<
    OwnEndpoints,
    never,
    Supervisor | ProjectFolders | OrchestratorFolder | OrchestratorConfig
  > = Layer.effect(
    OwnEndpoints,
    Effect.suspend(() => make)
  )
}

const wantsPage = Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => prefersHtml(headers["accept"]))

const home: Handler = Effect.map(wantsPage, (isPage) =>
  isPage
    ? { status: 302, headers: { location: "/status", vary: "accept" }, body: "" }
    : withHeaders(json({ status: "/status", health: "/health", metrics: "/metrics", projects: "/projects/<id>/" }), {
        vary: "accept"
      })
)

const health: Handler = Effect.succeed(json({ status: "ok" }))

const makeEndpoints = Effect.gen(function* () {
  const { adminToken } = yield* OrchestratorFolder
  const state = yield* Status.make
  const isReader = Access.reader(adminToken)

  // The page itself tells nothing: it asks for what it shows, and for the token where one is needed.
  const status: Handler = Effect.gen(function* () {
    if (yield* wantsPage) return withHeaders(statusPage, { vary: "accept" })
    yield* isReader
    return withHeaders(json(yield* state.current), { vary: "accept" })
  })
  const counts: Handler = Effect.gen(function* () {
    yield* isReader
    return metricsAnswer(metrics(yield* state.current))
  })
  const endpoints: ReadonlyArray<Endpoint> = [
    { path: "/", methods: { GET: home } },
    { path: "/health", methods: { GET: health } },
    { path: "/status", methods: { GET: status } },
    { path: "/metrics", methods: { GET: counts } },
    ...(yield* ProjectEndpoints.make),
    yield* Ask.make,
    yield* KeepAwake.make
  ]
  return endpoints
})

const failed = (cause: Cause.Cause<unknown>) => {
  const isUnknownPath = cause.reasons.some(
    (reason) =>
      reason._tag === "Fail" && isHttpServerError(reason.error) && reason.error.reason._tag === "RouteNotFound"
  )
  if (isUnknownPath) return Effect.succeed(toResponse(notFound.answer))
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  return Effect.as(
    Effect.logError("an endpoint of the orchestrator failed", cause),
    toResponse(
      problem({
        status: 500,
        code: "internal_error",
        detail: "Something went wrong; the orchestrator's log says what."
      })
    )
  )
}

const securityHeaders = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

/** An answer's own policy, a page's for instance, stays. */
const secured = (response: HttpServerResponse.HttpServerResponse) =>
  HttpServerResponse.setHeaders(response, { ...securityHeaders, ...response.headers })

const make = Effect.gen(function* () {
  const endpoints = yield* makeEndpoints
  const routes = yield* HttpRouter.toHttpEffect(HttpRouter.addAll(endpoints.map(route)))
  const app = HttpServerRequest.HttpServerRequest.pipe(
    // The router would take `*`, and an absolute target that can't be parsed, for `/`.
    Effect.flatMap(({ url }) => (url.startsWith("/") ? routes : Effect.succeed(toResponse(notFound.answer)))),
    Effect.catchCause(failed),
    Effect.map(secured),
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(maxBodyBytes))
  )

  const handle = ({ request, response, caller }: OwnRequest): Effect.Effect<void> =>
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const answer = yield* NodeHttpServer.makeHandler(app, { scope })
      yield* Effect.callback<void>((resume) => {
        if (response.closed) return resume(Effect.void)
        response.once("close", () => resume(Effect.void))
        answer(request, response)
        return Effect.sync(() => response.destroy())
      })
    }).pipe(Effect.scoped, Effect.provideService(CurrentCaller, caller))
  return OwnEndpoints.of({ handle })
})
