/**
 * The data path: which machine a request goes to, woken first where it has to be. Nothing is proxied: the answer names
 * the machine in `fly-replay`, and Fly's proxy sends the request there, upgrade or not.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { replayHeader, staleState, stateOf } from "../../contract/FlyReplay.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Deadline, Lifecycle, WakeError, type WakeResult } from "../../programs/lifecycle/Lifecycle.ts"
import type { ChangeFeed } from "../../services/db/ChangeFeed.ts"
import { type Projects, routeRow } from "../../services/db/Projects.ts"
import type { Answer } from "../Answer.ts"
import { preflight } from "../Cors.ts"
import * as Answers from "./Answers.ts"
import * as Breaker from "./Breaker.ts"
import { type Replay, type Route, routeOf } from "./Route.ts"
import * as RouteCache from "./RouteCache.ts"
import { header, headerValues, isNavigation, type RouterRequest } from "./RouterRequest.ts"
import * as Target from "./Target.ts"
import * as Touches from "./Touches.ts"

export interface RouterStats {
  /** Answers with `fly-replay`. */
  replays: number
  /** Of those, the ones that came from a cached route. */
  cached: number
  wakes: number
  wakeFailures: number
  /** Requests that came back from a project server, and that Fly could not deliver. */
  stale: number
  replayFailures: number
  overloaded: number
  readonly waiting: number
  readonly routes: number
  readonly feedConnected: boolean
}

export class Router extends Context.Service<
  Router,
  {
    /** A request for a project whose route is cached and active: answered on the spot. Undefined: ask `route`. */
    readonly tryRoute: (request: RouterRequest) => Answer | undefined
    /** Null: a request for the plane itself. */
    readonly route: (request: RouterRequest) => Effect.Effect<Answer | null>
    /** Writes the noted activity now. */
    readonly flushTouches: Effect.Effect<void>
    readonly stats: () => RouterStats
  }
>()("valet/Router") {
  static readonly layer: Layer.Layer<Router, never, PlaneConfig | Projects | ChangeFeed | Lifecycle> = Layer.effect(
    Router,
    Effect.suspend(() => make)
  )
}

/** A browser is shown a page rather than a blank tab when the wake takes longer than people call immediate. */
const navigationPatienceMs = 1_500
/** `Lifecycle` keeps the caller's deadline; behind it stands this limit. */
const graceMs = 1_000
/** Hosts known to be bare, remembered so that the hot path does not parse them again. */
const maxBareHosts = 64
const letterF = 102
/** Paths that mean something else once they are decoded or resolved are not for the hot path. */
const needsCare = /[%\\#;]|\/[/.]|internal/i

const make: Effect.Effect<Router["Service"], never, PlaneConfig | Projects | ChangeFeed | Lifecycle | Scope.Scope> =
  Effect.gen(function* () {
    const config = yield* PlaneConfig
    const lifecycle = yield* Lifecycle
    const { router, fly } = config
    const domain = router.domain === null ? null : Target.normalDomain(router.domain)
    const dotDomain = domain === null ? null : `.${domain}`
    const toReplay = replayHeader({
      app: fly.app,
      timeoutMs: router.replayTimeoutMs,
      fallback: router.replayFallback
    })
    const cache = yield* RouteCache.make(toReplay)
    const touches = yield* Touches.make
    const breaker = yield* Breaker.make
    const bareHosts = new Set<string>()
    const counts = {
      replays: 0,
      cached: 0,
      wakes: 0,
      wakeFailures: 0,
      stale: 0,
      replayFailures: 0,
      overloaded: 0
    }

    const replay = (route: Replay): Answer => {
      counts.replays++
      touches.note(route)
      return route.answer
    }

    const tryRoute = (request: RouterRequest): Answer | undefined => {
      const { url, rawHeaders } = request
      if (url === undefined || request.method === "OPTIONS") return undefined
      let host: string | undefined
      let hasUpgrade = false
      for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
        const name = rawHeaders[i]
        if (name === undefined) return undefined
        if (name.length === 4) {
          if (name === "host" || name === "Host" || name.toLowerCase() === "host") {
            if (host !== undefined) return undefined
            host = rawHeaders[i + 1]
          }
        } else if (name.length === 14 || name.length === 17) {
          // fly-replay-src and fly-replay-failed; `| 32` is the lower case of an ASCII letter
          if ((name.charCodeAt(0) | 32) === letterF && name.toLowerCase().startsWith("fly-replay-")) return undefined
        } else if (name.length === 7 && name.toLowerCase() === "upgrade") hasUpgrade = true
      }
      if (host === undefined) return undefined
      const query = url.indexOf("?")
      const path = query === -1 ? url : url.slice(0, query)
      if (path === "/health" || needsCare.test(path)) return undefined
      let id: string
      const colon = host.lastIndexOf(":")
      const nameEnd = colon === -1 ? host.length : colon
      if (dotDomain !== null && nameEnd > dotDomain.length && host.startsWith(dotDomain, nameEnd - dotDomain.length)) {
        id = host.slice(0, nameEnd - dotDomain.length)
      } else if (bareHosts.has(host) && path.startsWith("/projects/")) {
        const slash = path.indexOf("/", 10)
        id = slash === -1 ? path.slice(10) : path.slice(10, slash)
      } else return undefined
      const route = cache.cached(id)
      if (route === undefined || route._tag !== "Replay") return undefined
      counts.cached++
      const answer = replay(route)
      return hasUpgrade ? Answers.closing(request, answer) : answer
    }

    const bounded = (effect: Effect.Effect<WakeResult, WakeError>, deadlineMs: number) =>
      Effect.timeoutOrElse(effect, {
        duration: deadlineMs + graceMs,
        orElse: () => Effect.fail(new WakeError({ reason: new Deadline({ detail: "no end in time" }) }))
      })

    const patienceOf = (request: RouterRequest) =>
      isNavigation(request) ? Math.min(navigationPatienceMs, router.wakeTimeoutMs) : router.wakeTimeoutMs

    /** Wakes or heals, and replays to what came of it. */
    const afterwards = (request: RouterRequest, projectId: ProjectId, effect: Effect.Effect<WakeResult, WakeError>) =>
      bounded(effect, patienceOf(request)).pipe(
        Effect.match({
          onFailure: (error) => {
            counts.wakeFailures++
            return Answers.wakeFailed(request, error)
          },
          onSuccess: (result) => {
            // What is cached may still be the row from before; the change's own notice comes later.
            cache.drop(projectId)
            if (result.woken) counts.wakes++
            const route = routeOf(projectId, routeRow(result.view), toReplay)
            return route._tag === "Replay" ? replay(route) : Answers.waking(request)
          }
        })
      )

    const wake = (request: RouterRequest, projectId: ProjectId) =>
      afterwards(
        request,
        projectId,
        Effect.suspend(() => lifecycle.wake(projectId, { deadlineMs: patienceOf(request) }))
      )

    const heal = (request: RouterRequest, projectId: ProjectId, hint: "stale" | "replay_failed") =>
      Effect.suspend(() => lifecycle.heal(projectId, hint, { deadlineMs: patienceOf(request) }))

    /** Requests that ask without wanting to use: they wake nothing and interrupt no operation. */
    const passive = (request: RouterRequest, path: string, state: string): Answer | undefined => {
      if (request.method === "HEAD") return Answers.state(request, state)
      if (path === "/favicon.ico" || path === "/robots.txt") return Answers.noSuchFile(request)
      const agent = header(request, "user-agent")
      return agent !== undefined && router.noWake !== null && router.noWake.test(agent)
        ? Answers.dormant(request, state)
        : undefined
    }

    const restingState = (route: Route): string | undefined =>
      route._tag === "Asleep" ? "dormant" : route._tag === "Moving" ? route.state : undefined

    const routeProject = Effect.fnUntraced(function* (request: RouterRequest, projectId: ProjectId, path: string) {
      const failed = header(request, "fly-replay-failed") !== undefined
      const stale = headerValues(request, "fly-replay-src").some((value) => stateOf(value) === staleState)
      if (failed || stale) {
        cache.drop(projectId)
        if (failed) counts.replayFailures++
        else counts.stale++
      }
      const route = yield* cache.lookup(projectId)
      if (route._tag === "Missing") return Answers.notFound(request)
      if (route._tag === "Unavailable") return Answers.dataUnavailable(request)
      const state = restingState(route)
      const asking = state === undefined ? undefined : passive(request, path, state)
      if (asking !== undefined) return asking
      if (failed) {
        // It came back by fallback: another replay of it would be refused, so it is told to come again.
        return yield* bounded(heal(request, projectId, "replay_failed"), patienceOf(request)).pipe(
          Effect.match({
            onFailure: (error) => Answers.wakeFailed(request, error),
            onSuccess: () => {
              cache.drop(projectId)
              return Answers.waking(request)
            }
          })
        )
      }
      if (stale) return yield* afterwards(request, projectId, heal(request, projectId, "stale"))
      return route._tag === "Replay" ? replay(route) : yield* wake(request, projectId)
    })

    const answer = (request: RouterRequest): Effect.Effect<Answer | null> => {
      const hosts = headerValues(request, "host")
      const target = Target.parse({ method: request.method ?? "GET", target: request.url ?? "/", hosts, domain })
      switch (target._tag) {
        case "Health":
          return Effect.succeed(Answers.health(request))
        case "Preflight":
          return Effect.succeed(
            preflight({
              origin: header(request, "origin"),
              requestedHeaders: header(request, "access-control-request-headers")
            })
          )
        case "Refused":
          return Effect.succeed(Answers.refused(request, target.status, target.detail))
        case "NoProject":
          return Effect.succeed(Answers.notFound(request))
        case "Plane":
          return Effect.succeed(null)
        case "Project": {
          const [host] = hosts
          if (host !== undefined && Target.hostKind(host, domain)._tag === "Bare") {
            // Invented hosts must not keep the real one out.
            if (bareHosts.size >= maxBareHosts) bareHosts.clear()
            bareHosts.add(host)
          }
          return breaker.guard(
            routeProject(request, target.projectId, target.path).pipe(
              Effect.catchTag("StoreError", (error) =>
                Effect.as(Effect.logWarning(`route ${target.projectId}: ${error.message}`), Answers.storeDown(request))
              )
            ),
            () => {
              counts.overloaded++
              return Answers.overloaded(request)
            }
          )
        }
      }
    }

    return {
      tryRoute,
      route: (request) =>
        Effect.map(answer(request), (found) => (found === null ? null : Answers.closing(request, found))),
      flushTouches: touches.flush,
      stats: () => ({
        ...counts,
        waiting: breaker.waiting(),
        routes: cache.size(),
        feedConnected: cache.live()
      })
    }
  })
