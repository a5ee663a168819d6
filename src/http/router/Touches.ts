/**
 * `last_active_at`, in batches: a request notes its project, a flush every few seconds and one at shutdown write them.
 * A project noted often is written once. What can't be written is kept for the next flush, up to a bound; a touch that
 * is lost costs nothing but a sweep's question to a server, which knows better.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import type { Replay } from "./Route.ts"

export interface Touches {
  /**
   * That a request went there. The route remembers for which flush it was noted: only the first request before each costs
   * a look at the set of all, which is 3 % of the CPU that a cached answer takes.
   */
  readonly note: (route: Replay) => void
  readonly flush: Effect.Effect<void>
}

const capacity = 200_000
const batchSize = 1_000
/** Half of the ten seconds within which a touch has to be written, so that one failure still fits. */
const everyMs = 4_000
const shutdownLimitMs = 5_000

export const make: Effect.Effect<Touches, never, Projects | Scope.Scope> = Effect.gen(function* () {
  const projects = yield* Projects
  let pending = new Set<ProjectId>()
  let flushes = 1
  const noted = Latch.makeUnsafe(false)

  const add = (projectId: ProjectId) => {
    if (pending.size < capacity) pending.add(projectId)
    noted.openUnsafe()
  }
  const note = (route: Replay) => {
    if (route.notedFor === flushes) return
    route.notedFor = flushes
    add(route.projectId)
  }

  const write = (batch: ReadonlyArray<ProjectId>) =>
    projects.touch(batch).pipe(
      Effect.catch((error) => {
        batch.forEach(add)
        return Effect.logWarning(`touches kept for the next flush: ${error.message}`)
      })
    )

  const flush = Effect.suspend(() => {
    const unwritten = [...pending]
    pending = new Set()
    flushes += 1
    return Effect.whileLoop({
      while: () => unwritten.length > 0,
      body: () => {
        const batch = unwritten.slice(0, batchSize)
        return Effect.as(write(batch), batch.length)
      },
      step: (written) => unwritten.splice(0, written)
    }).pipe(Effect.onError(() => Effect.sync(() => unwritten.forEach(add))))
  })

  // Registered before the loop is forked, so it runs after the loop was stopped.
  yield* Effect.addFinalizer(() =>
    flush.pipe(
      Effect.timeoutOption(shutdownLimitMs),
      Effect.catchCause((cause) => Effect.logWarning("touches at shutdown", cause))
    )
  )
  // An instance without traffic sets no timer.
  yield* noted.await.pipe(
    Effect.andThen(Effect.sleep(everyMs)),
    Effect.andThen(Effect.suspend(() => Effect.andThen(noted.close, flush))),
    Effect.catchCause((cause) => Effect.logError("touches", cause)),
    Effect.forever,
    Effect.forkScoped
  )
  return { note, flush }
})
