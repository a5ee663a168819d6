/** What load balancers and monitoring ask: readiness, and metrics in the Prometheus text format. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { isPrivate } from "../../domain/ClientAddress.ts"
import { LoopStatus } from "../../programs/background/LoopStatus.ts"
import { Plane } from "../../services/db/Plane.ts"
import { Projects } from "../../services/db/Projects.ts"
import { json, problem, toResponse } from "../Answer.ts"
import { counter, exposition, type Family, gauge, label, metrics as metricsAnswer } from "../Exposition.ts"
import { Router } from "../router/Router.ts"
import { bearerOf, operatorCheck } from "./Credentials.ts"

const readyLimitMs = 2_000
/** Counting projects reads their whole index: scrapes share one count. */
const countsTtlMs = 15_000

/** Headers of a proxy: a request with one did not come from the private network, whatever its socket says. */
const proxyHeaders = ["fly-client-ip", "x-forwarded-for", "forwarded", "via"]

export const routeReady = HttpRouter.add(
  "GET",
  "/health/ready",
  Effect.flatMap(Plane, (plane) =>
    plane.ready.pipe(
      Effect.timeoutOrElse({ duration: readyLimitMs, orElse: () => Effect.succeed(false) }),
      Effect.catchTag("StoreError", () => Effect.succeed(false)),
      Effect.map((ready) =>
        toResponse(
          ready
            ? json({ status: "ready" })
            : problem({
                status: 503,
                code: "not_ready",
                detail: "The database is not reachable, or not migrated to what this build needs.",
                headers: { "retry-after": "2" }
              })
        )
      )
    )
  )
)

export const routeMetrics = HttpRouter.use(
  Effect.fnUntraced(function* (routes) {
    const config = yield* PlaneConfig
    const projects = yield* Projects
    const router = yield* Router
    const loops = yield* LoopStatus
    const isOperator = operatorCheck(config)
    const counts = yield* Effect.cachedWithTTL(projects.counts, countsTtlMs)

    const metrics = Effect.gen(function* () {
      const stats = router.stats()
      const reports = yield* loops.statuses
      const counted = yield* Effect.option(counts)
      const ofLoops = (value: (loop: (typeof reports)[number]) => number) =>
        reports.map((loop) => [label("loop", loop.name), value(loop)] as const)
      const router_: ReadonlyArray<Family> = [
        counter("valet_router_replays_total", "Requests answered with fly-replay.", stats.replays),
        counter("valet_router_cached_total", "Of those, from a cached route.", stats.cached),
        counter("valet_router_wakes_total", "Requests that woke a project.", stats.wakes),
        counter(
          "valet_router_wake_failures_total",
          "Requests whose wake did not end in time or failed.",
          stats.wakeFailures
        ),
        counter("valet_router_stale_total", "Requests that project servers sent back.", stats.stale),
        counter("valet_router_replay_failures_total", "Requests that Fly could not deliver.", stats.replayFailures),
        counter("valet_router_overloaded_total", "Requests turned away by the bound on waiting ones.", stats.overloaded)
      ]
      const gauges: ReadonlyArray<Family> = [
        gauge("valet_router_waiting", "Requests held now.", stats.waiting),
        gauge("valet_router_routes", "Cached routes.", stats.routes),
        gauge("valet_router_feed_connected", "1 while changes of routes are heard.", stats.feedConnected ? 1 : 0),
        { name: "valet_loop_runs_total", type: "counter", help: "Passes.", samples: ofLoops((loop) => loop.runs) },
        {
          name: "valet_loop_failures_total",
          type: "counter",
          help: "Passes that failed.",
          samples: ofLoops((loop) => loop.failures)
        },
        {
          name: "valet_loop_last_run_timestamp_seconds",
          type: "gauge",
          help: "When the last pass began; 0 before the first.",
          samples: ofLoops((loop) => (loop.lastRunAt ?? 0) / 1000)
        }
      ]
      const ofStates: ReadonlyArray<Family> = Option.match(counted, {
        onNone: () => [],
        onSome: ({ states, operations, dataUnavailable }) => [
          {
            name: "valet_projects",
            type: "gauge",
            help: "Projects by state.",
            samples: Object.entries(states).map(([state, count]) => [label("state", state), count])
          },
          {
            name: "valet_operations",
            type: "gauge",
            help: "Projects by running operation.",
            samples: Object.entries(operations).map(([operation, count]) => [label("operation", operation), count])
          },
          gauge("valet_projects_data_unavailable", "Projects that wait for an operator's decision.", dataUnavailable)
        ]
      })
      return exposition([...router_, ...gauges, ...ofStates]) + (yield* PrometheusMetrics.format())
    })

    yield* routes.add(
      "GET",
      "/metrics",
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        const bearer = bearerOf(request.headers["authorization"])
        const isDirect = proxyHeaders.every((name) => request.headers[name] === undefined)
        const allowed =
          bearer === undefined
            ? isDirect && isPrivate(Option.getOrUndefined(request.remoteAddress))
            : isOperator(bearer)
        if (!allowed) {
          return toResponse(problem({ status: 401, code: "unauthorized", detail: "A valid bearer token is needed." }))
        }
        return toResponse(metricsAnswer(yield* metrics))
      })
    )
  })
)
