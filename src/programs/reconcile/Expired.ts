/**
 * The recovery pass: operations whose owner died are taken over. What had not committed goes back to where it began;
 * a delete goes on; an archive is aborted and its server unsealed; a rehost starts again. Then leftovers that no
 * operation names go to the bin.
 */
import * as Effect from "effect/Effect"
import { Margins } from "../../config/Margins.ts"
import type { Project } from "../../domain/Project.ts"
import { Archives } from "../../services/db/Archives.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Signals } from "../background/Signals.ts"
import { deleteNow } from "../lifecycle/Delete.ts"
import { Mender } from "../lifecycle/Mender.ts"
import { brief } from "../lifecycle/Steps.ts"
import { unseal } from "../lifecycle/Unseal.ts"

const perPass = 100

const takeOver = (project: Project) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    yield* Effect.logInfo("operation taken over", { projectId: project.projectId, operation: project.operation })
    switch (project.operation) {
      case "creating":
      case "waking":
        yield* projects.expireWake(project.projectId)
        return
      case "archiving": {
        const view = yield* projects.abortArchive({
          projectId: project.projectId,
          by: { _tag: "Takeover" },
          idleSeconds: null,
          backoffMs: null,
          error: "its owner died"
        })
        if (view !== null) yield* unseal(view)
        return
      }
      case "rehosting":
        yield* (yield* Mender).mend(project.projectId)
        return
      case "deleting":
        yield* deleteNow(project.projectId)
        return
      case "none":
        return
    }
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning("not taken over yet", { projectId: project.projectId, error: brief(cause) })
    )
  )

export const recoverExpired = Effect.gen(function* () {
  const projects = yield* Projects
  const machines = yield* Machines
  const archives = yield* Archives
  const { abandonedMs } = yield* Margins
  const expired = yield* projects.expiredLeases(perPass)
  yield* Effect.forEach(expired, takeOver, { concurrency: 5, discard: true })
  const discarded = (yield* machines.discardUnnamed(perPass)) + (yield* machines.discardAbandoned(abandonedMs, perPass))
  const objects = yield* archives.discardAbandoned(perPass)
  const purged = yield* machines.purge(30 * 24 * 60 * 60_000, perPass)
  if (discarded + objects > 0) yield* (yield* Signals).poke("discard")
  return { takenOver: expired.length, discarded, objects, purged }
}).pipe(Effect.withSpan("recoverExpired"))
