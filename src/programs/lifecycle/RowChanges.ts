/**
 * Waiting until another instance has changed a project's row: its notification is a hint, a poll beside it makes up for
 * one that was lost. One subscription serves all waiters of the instance.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"

/** Without a hint the row is read this often. */
const pollMs = 500

export class RowChanges extends Context.Service<
  RowChanges,
  {
    /** Returns at the next hint for the project, or after the poll interval. */
    next(projectId: ProjectId): Effect.Effect<void>
  }
>()("valet/RowChanges") {
  static readonly layer = Layer.effect(
    RowChanges,
    Effect.gen(function* () {
      const projects = yield* Projects
      const waiting = new Map<ProjectId, Deferred.Deferred<void>>()
      const wake = (projectId: ProjectId) => {
        const deferred = waiting.get(projectId)
        waiting.delete(projectId)
        return deferred === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(deferred, undefined))
      }
      yield* projects.changes.pipe(
        Stream.runForEach((change) =>
          change._tag === "Changed"
            ? wake(change.projectId)
            : Effect.forEach([...waiting.keys()], wake, { discard: true })
        ),
        Effect.tapCause((cause) => Effect.logError("row changes ended, waiters poll", cause)),
        Effect.forkScoped
      )
      const next = Effect.fnUntraced(function* (projectId: ProjectId) {
        const deferred = waiting.get(projectId) ?? (yield* Deferred.make<void>())
        waiting.set(projectId, deferred)
        // A waiter that leaves takes the entry with it only if nobody else has renewed it: others share the deferred.
        yield* Deferred.await(deferred).pipe(Effect.timeoutOption(pollMs))
        if (waiting.get(projectId) === deferred) waiting.delete(projectId)
      })
      return RowChanges.of({ next })
    })
  )
}
