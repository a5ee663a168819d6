/**
 * One control-plane instance: the real programs, router, handlers and loops over its own view of the world. It is
 * killed at whatever await it stands: from then on nothing of it reaches anything, its finalizers included.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpMethod } from "effect/http/HttpMethod"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Margins } from "../../config/Margins.ts"
import { PlaneHttp } from "../../http/PlaneHttp.ts"
import { Router } from "../../http/router/Router.ts"
import { layerLoops } from "../../programs/background/Loops.ts"
import { Signals } from "../../programs/background/Signals.ts"
import { Identity } from "../../programs/Identity.ts"
import { layerLifecycle } from "../../programs/lifecycle/LifecycleLive.ts"
import { ChangeFeed } from "../../services/db/ChangeFeed.ts"
import * as FlyBudget from "../../services/fly/FlyBudget.ts"
import { type Change, Projects } from "../../services/db/Projects.ts"
import { Locks } from "../../services/locks/Locks.ts"
import * as FlyMemory from "../fly/FlyMemory.ts"
import type { Carry, Peer } from "../Link.ts"
import { Link } from "../Link.ts"
import { layerMachineClient } from "../machine/FakeMachines.ts"
import { layerInstance } from "../memory/MemoryStores.ts"
import { StoreFaults } from "../memory/StoreFaults.ts"
import * as MemoryR2 from "../MemoryR2.ts"
import { layerSeededRandom } from "../TestPlane.ts"
import type { World } from "./World.ts"
import { onWorldTime, storeFault } from "./World.ts"

export interface Request {
  readonly method: HttpMethod
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Milliseconds of one way. */
const latencies: Readonly<Record<Peer, readonly [least: number, most: number]>> = {
  database: [1, 3],
  fly: [10, 120],
  machine: [1, 10],
  r2: [5, 80]
}

export interface Gate {
  dead: boolean
  /** The process stands still until then, as one that was stopped or swapped out. */
  pausedUntil: number
  /** Changes are not heard until then. */
  deafUntil: number
}

/** Of the database's answers so many take a moment; the others are there at once. Speed, for a loss of little. */
const slowAnswers = 0.25

/** Calls after which the world is another one, and none of a loop that found nothing to do. */
const changing: ReadonlySet<string> = new Set(
  (
    "create beginWake commitActive failWake expireWake beginArchive startUpload commitArchive " +
    "abortArchive beginRehost failRehost raiseGeneration beginDelete commitDelete recover renew " +
    "insertPool insertFor claimNext recordVolume recordMachine markReady clearMachine discard " +
    "recordGone markGone markArchiveGone createVolume createMachine deleteVolume deleteMachine startMachine " +
    "configure archive-to-r2 unseal checksum delete"
  ).split(" ")
)

const carrier = (world: World, name: string, gate: Gate): Carry => {
  const { dice, journal, time } = world
  const goesOn: Effect.Effect<void> = Effect.suspend(() => {
    if (gate.dead) return Effect.interrupt
    const left = gate.pausedUntil - time.clock.currentTimeMillisUnsafe()
    return left > 0 ? Effect.andThen(time.pause(left), goesOn) : Effect.void
  })
  /** Before the call or behind it: what befalls the instance there. */
  const befalls = (operation: string): Effect.Effect<void> => {
    if (!changing.has(operation)) return Effect.void
    if (dice.chance(world.rates.instanceCrash / 2)) {
      journal.count("fault instance crash_at_call")
      return Effect.andThen(world.crash(name), Effect.interrupt)
    }
    if (dice.chance(world.rates.instancePause / 2)) {
      journal.count("fault instance pause_at_call")
      const ms = Math.round(dice.magnitude(500, 90_000))
      journal.note(`${name} stands still at ${operation} for ${ms} ms`)
      gate.pausedUntil = time.clock.currentTimeMillisUnsafe() + ms
      world.stoodStillMs += ms
      return goesOn
    }
    return Effect.void
  }
  return (to, operation) => (request) =>
    Effect.suspend(() => {
      if (gate.dead) return Effect.interrupt
      const hurt = changing.has(operation) && (world.rates.instanceCrash > 0 || world.rates.instancePause > 0)
      const [least, most] = latencies[to]
      const there = dice.between(least, most)
      const back = to === "database" && !dice.chance(slowAnswers) ? 0 : dice.between(least, most)
      const arriving = Effect.andThen(
        time.pause(there),
        // The database has a clock of its own.
        to === "database" ? request : onWorldTime(world)(request)
      )
      // The far end does not always notice that its caller is gone.
      const orphaned = dice.chance(world.rates.linkOrphaned)
      if (orphaned) journal.count("fault link orphaned")
      const sent = orphaned ? Effect.flatMap(Effect.forkIn(arriving, world.scope), Fiber.join) : arriving
      const answered = hurt ? Effect.tap(Effect.andThen(befalls(operation), sent), () => befalls(operation)) : sent
      return Effect.flatMap(Effect.exit(answered), (exit) => {
        journal.note(`${name} ${to}.${operation} ${exit._tag === "Success" ? "ok" : "failed"}`)
        if (back === 0 && !gate.dead && gate.pausedUntil === 0) return exit
        return Effect.andThen(back === 0 ? goesOn : Effect.andThen(time.pause(back), goesOn), exit)
      })
    })
}

const layerFly = (rateLimits: boolean) =>
  rateLimits ? FlyMemory.layerPolicy().pipe(Layer.provide(FlyBudget.layer)) : FlyMemory.layerNoDeps()

const layerServices = ({ profile }: World, name: string) =>
  Layer.mergeAll(layerInstance(name), MemoryR2.layerClient, layerMachineClient, layerSeededRandom).pipe((beneath) =>
    Layer.provideMerge(layerFly(profile.rateLimits), beneath)
  )
export type InstanceServices = Layer.Success<ReturnType<typeof layerServices>>

/** The instance hears of changes unless its listener's session is down. */
const layerFeed = (world: World, gate: Gate) => {
  const { clock } = world.time
  const listening = () => !gate.dead && clock.currentTimeMillisUnsafe() >= gate.deafUntil
  const heard = (change: Change) => change._tag === "Resync" || listening()
  return Layer.mergeAll(
    Layer.effect(
      Projects,
      Effect.map(Projects, (projects) =>
        Projects.of({ ...projects, changes: Stream.filter(world.database.changes, heard) })
      )
    ),
    Layer.succeed(ChangeFeed, { listening })
  )
}

/** Its background tasks are watched from outside of the locks, which may be what is wrong. */
const layerTasks = ({ tasks }: World, name: string) =>
  Layer.effect(
    Locks,
    Effect.map(Locks, (locks) =>
      Locks.of({
        ...locks,
        withTaskLock: (key) => (task) => locks.withTaskLock(key)(tasks.around(key, name)(task))
      })
    )
  )

/** What may be put in place of an instance's parts: a defect on purpose, or an embedder's own. */
export interface Alterations {
  readonly services?: <E, R>(layer: Layer.Layer<InstanceServices, E, R>) => Layer.Layer<InstanceServices, E, R>
}

const layerPlane = (world: World, name: string, gate: Gate, alterations: Alterations) => {
  const services = layerServices(world, name)
  return PlaneHttp.layerWithoutViewer.pipe(
    Layer.provideMerge(Layer.mergeAll(Router.layer, layerLoops())),
    Layer.provideMerge(layerLifecycle),
    Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
    Layer.provideMerge(Layer.mergeAll(layerFeed(world, gate), layerTasks(world, name))),
    Layer.provideMerge(alterations.services?.(services) ?? services)
  )
}

const replyOf = (response: HttpServerResponse.HttpServerResponse): Reply => ({
  status: response.status,
  headers: response.headers,
  body: response.body._tag === "Uint8Array" ? new TextDecoder().decode(response.body.body) : ""
})

const serverRequest = ({ body, headers, method, path }: Request) => {
  const request = HttpClientRequest.make(method)(path, { headers: { ...headers } })
  return HttpServerRequest.fromClientRequest(
    body === undefined ? request : HttpClientRequest.bodyJsonUnsafe(request, body)
  )
}

export interface Instance {
  readonly name: string
  readonly gate: Gate
  /** False from the moment at which it is asked to stop: the edge sends it nothing new. */
  readonly accepts: () => boolean
  /** Null: the connection broke, because the instance is gone. */
  handle(request: Request): Effect.Effect<Reply | null>
  readonly kill: Effect.Effect<void>
  /** Requests in flight get some time, then the rest is closed in order. */
  readonly stop: Effect.Effect<void>
}

const drainMs = 10_000

/** Fails where the instance could not start: the database did not answer, or it was killed meanwhile. */
export const start = Effect.fnUntraced(function* (
  world: World,
  input: { readonly name: string; readonly skewMs: number; readonly alterations: Alterations }
) {
  const { name } = input
  const { database, journal, time } = world
  const gate: Gate = { dead: false, pausedUntil: 0, deafUntil: 0 }
  const clock = time.skewed(input.skewMs, () => (gate.dead ? Infinity : gate.pausedUntil))
  const references = Context.make(Link, carrier(world, name, gate)).pipe(
    Context.add(StoreFaults, () => storeFault(world)),
    Context.add(Margins, world.margins),
    Context.add(Clock.Clock, clock),
    Context.add(Logger.CurrentLoggers, new Set<Logger.Logger<unknown, unknown>>()),
    Context.add(References.TracerEnabled, false)
  )
  const scope = yield* Scope.make()
  const kill = Effect.suspend(() => {
    gate.dead = true
    return Effect.andThen(
      database.sessions.end(name),
      Scope.close(scope, Exit.void).pipe(Effect.ignoreCause, Effect.forkIn(world.scope))
    )
  }).pipe(Effect.asVoid)
  const build = Effect.gen(function* () {
    const memo = yield* Layer.makeMemoMap
    return yield* Layer.buildWithMemoMap(layerPlane(world, name, gate, input.alterations), memo, scope)
  })
  const built = yield* Effect.provideContext(build, Context.merge(world.context, references)).pipe(Effect.exit)
  if (Exit.isFailure(built)) {
    yield* kill
    return yield* Effect.fail("not started" as const)
  }
  const context = Context.merge(built.value, references)
  const router = Context.get(built.value, Router)
  const http = Context.get(built.value, PlaneHttp)
  let accepts = true
  let inFlight = 0

  const answer = (request: Request): Effect.Effect<Reply> =>
    Effect.suspend(() => {
      const asked = {
        method: request.method,
        url: request.path,
        rawHeaders: Object.entries(request.headers).flat()
      }
      const hot = router.tryRoute(asked)
      // As `PlaneHttp` asks the router first: a request for a project costs no request object of the HTTP library.
      if (hot !== undefined) return Effect.succeed(hot)
      return Effect.filterOrElse(
        router.route(asked),
        (found) => found !== null,
        () =>
          http.httpEffect.pipe(
            Effect.provideService(HttpServerRequest.HttpServerRequest, serverRequest(request)),
            Effect.scoped,
            Effect.map(replyOf)
          )
      )
    })

  const handle = (request: Request): Effect.Effect<Reply | null> =>
    Effect.suspend(() => {
      if (gate.dead) return Effect.succeed(null)
      inFlight += 1
      return Effect.forkIn(Effect.provideContext(answer(request), context), scope).pipe(
        Effect.flatMap(Fiber.await),
        Effect.map((exit) => (Exit.isSuccess(exit) && !gate.dead ? exit.value : null)),
        Effect.ensuring(Effect.sync(() => void (inFlight -= 1)))
      )
    })

  const stop = Effect.gen(function* () {
    accepts = false
    const until = time.clock.currentTimeMillisUnsafe() + drainMs
    const drained = () => inFlight === 0 || time.clock.currentTimeMillisUnsafe() >= until
    while (!drained()) yield* Effect.sleep(100)
    yield* http.releaseWaiting
    const closed = yield* Effect.timeoutOption(Scope.close(scope, Exit.void), 60_000)
    if (closed._tag === "None") journal.note(`${name} did not stop in time`)
    yield* kill
  })

  journal.note(`${name} serves`)
  const instance: Instance = { name, gate, accepts: () => accepts && !gate.dead, handle, kill, stop }
  return instance
})
