/**
 * Routes in memory, read from the row once however many requests wait for one.
 *
 * A change drops the entry and disowns a read that began before it: its waiters still get what it finds, but it is not
 * kept, and whoever comes later reads anew. While the feed of changes is down, entries live for a second. Unknown ids
 * are kept apart and briefly, so that asking for many of them pushes no route out.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Margins } from "../../config/Margins.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { ChangeFeed } from "../../services/db/ChangeFeed.ts"
import { type Change, Projects } from "../../services/db/Projects.ts"
import type { StoreError } from "../../services/db/StoreError.ts"
import { GenerationalMap } from "./GenerationalMap.ts"
import { type Route, routeOf } from "./Route.ts"

export interface RouteCache {
  /** A fresh entry; undefined: look it up. Synchronous: the hot path. */
  readonly cached: (projectId: string) => Route | undefined
  /** From the cache, or from the row. */
  readonly lookup: (projectId: ProjectId) => Effect.Effect<Route, StoreError>
  readonly drop: (projectId: ProjectId) => void
  readonly size: () => number
  /** Whether changes are heard right now. */
  readonly live: () => boolean
}

interface Entry {
  readonly route: Route
  readonly readAt: number
}

interface Read {
  readonly projectId: ProjectId
  readonly deferred: Deferred.Deferred<Route, StoreError>
}

const capacity = 100_000
const negativeCapacity = 10_000
const negativeTtlMs = 2_000
/** While the feed is down. */
const unwatchedTtlMs = 1_000
/**
 * Reads that begin in the same turn of the event loop, or while a statement runs, go together in the next: that way two
 * fifths more upgrades for routes that are not cached are answered than with four statements at once. One that comes
 * alone goes alone, a turn later. A statement that is slow holds nobody up for longer than this; others run beside it.
 */
const slowStatementMs = 25
const statementsAtOnce = 4
const readsTogether = 100

export const make = (
  replayHeader: (machineId: string) => string
): Effect.Effect<RouteCache, never, Projects | ChangeFeed | Scope.Scope> =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const feed = yield* ChangeFeed
    const clock = yield* Clock.Clock
    const { routeTtlMs } = yield* Margins
    const known = new GenerationalMap<Entry>(capacity)
    const unknown = new GenerationalMap<Entry>(negativeCapacity)
    const reading = new Map<ProjectId, Read>()
    /** No longer than requests may wait: `Breaker`. */
    const queue = yield* Queue.unbounded<Read>()
    let heardFirst = false

    const drop = (projectId: ProjectId) => {
      known.delete(projectId)
      unknown.delete(projectId)
      reading.delete(projectId)
    }
    const apply = (change: Change) => {
      if (change._tag === "Changed") return drop(change.projectId)
      known.clear()
      unknown.clear()
      reading.clear()
      heardFirst = true
    }

    yield* Stream.runForEach(projects.changes, (change) => Effect.sync(() => apply(change))).pipe(
      Effect.andThen(Effect.die("the feed of changes ended")),
      Effect.ensuring(Effect.sync(() => (heardFirst = false))),
      Effect.tapCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("route cache: feed broke", cause)
      ),
      Effect.catchCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.fail("broke"))),
      Effect.retry(Schedule.spaced(unwatchedTtlMs)),
      Effect.forkScoped
    )
    const live = () => heardFirst && feed.listening()

    const cached = (projectId: string): Route | undefined => {
      const entry = known.get(projectId)
      if (entry !== undefined) {
        const now = clock.currentTimeMillisUnsafe()
        const ttl = live() ? routeTtlMs : unwatchedTtlMs
        return now - entry.readAt < ttl ? entry.route : undefined
      }
      const missing = unknown.get(projectId)
      if (missing === undefined) return undefined
      const ttl = live() ? negativeTtlMs : unwatchedTtlMs
      return clock.currentTimeMillisUnsafe() - missing.readAt < ttl ? missing.route : undefined
    }

    const settle = ({ deferred, projectId }: Read, exit: Exit.Exit<Route, StoreError>, readAt: number) => {
      if (reading.get(projectId)?.deferred === deferred) {
        reading.delete(projectId)
        if (Exit.isSuccess(exit)) {
          const route = exit.value
          if (route._tag === "Missing") unknown.set(projectId, { route, readAt })
          else if (route._tag !== "Moving") known.set(projectId, { route, readAt })
        }
      }
      Deferred.doneUnsafe(deferred, exit)
    }
    const readTogether = (reads: ReadonlyArray<Read>) =>
      Effect.suspend(() => {
        const readAt = clock.currentTimeMillisUnsafe()
        return projects.routes(reads.map(({ projectId }) => projectId)).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              for (const read of reads) {
                const route = Exit.map(exit, (rows) => routeOf(read.projectId, rows.get(read.projectId), replayHeader))
                settle(read, route, readAt)
              }
            })
          ),
          // The failure is its waiters' to tell.
          Effect.exit
        )
      })
    const running = yield* Semaphore.make(statementsAtOnce)
    yield* running.take(1).pipe(
      Effect.andThen(Queue.peek(queue)),
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(Queue.takeBetween(queue, 1, readsTogether)),
      Effect.flatMap((reads) =>
        Effect.forkChild(Effect.ensuring(readTogether(reads), running.release(1)), { startImmediately: true })
      ),
      Effect.flatMap((statement) => Effect.timeoutOption(Fiber.await(statement), slowStatementMs)),
      Effect.forever,
      Effect.forkScoped
    )

    const lookup = (projectId: ProjectId): Effect.Effect<Route, StoreError> =>
      Effect.suspend(() => {
        const hit = cached(projectId)
        if (hit !== undefined) return Effect.succeed(hit)
        const running = reading.get(projectId)
        if (running !== undefined) return Deferred.await(running.deferred)
        const read: Read = { projectId, deferred: Deferred.makeUnsafe() }
        reading.set(projectId, read)
        Queue.offerUnsafe(queue, read)
        return Deferred.await(read.deferred)
      })

    return { cached, lookup, drop, size: () => known.size + unknown.size, live }
  })
