/** Any state → tombstone. The row decides; machines, volumes and objects follow through the bin. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { Margins } from "../../config/Margins.ts"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { holds, leaseOf } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import { StoreError } from "../../services/db/StoreError.ts"
import { Signals } from "../background/Signals.ts"
import * as Ids from "../Ids.ts"
import { begunAlone, mineAfterAll } from "./Begin.ts"
import { lookAgain } from "./Committed.ts"
import { deletePatienceMs, leaseMs } from "./limits.ts"

const pollMs = 250

const begin = (projectId: ProjectId, force: boolean) =>
  Effect.gen(function* () {
    const operationId = yield* Ids.operationId
    return yield* (yield* Projects)
      .beginDelete({ projectId, operationId, leaseMs, force })
      .pipe(mineAfterAll(projectId, operationId, begunAlone))
  })

/** False: there is no such project, or it is a tombstone already. */
export const deleteNow = Effect.fn("delete")(function* (projectId: ProjectId) {
  const projects = yield* Projects
  const { router } = yield* PlaneConfig
  const { routeTtlMs } = yield* Margins
  const patient = begin(projectId, false).pipe(
    Effect.repeat({
      until: (outcome) => outcome._tag === "Begun" || outcome.view === null || outcome.view.project.state === "deleted",
      schedule: Schedule.max([Schedule.spaced(pollMs), Schedule.recurs(Math.ceil(deletePatienceMs / pollMs))])
    })
  )
  const waited = yield* patient
  const begun =
    waited._tag === "Begun" || waited.view === null || waited.view.project.state === "deleted"
      ? waited
      : yield* begin(projectId, true)
  if (begun._tag === "Refused") {
    if (begun.view === null || begun.view.project.state === "deleted") return false
    // Somebody else deletes at this very moment: as good as our own.
    if (begun.view.project.operation === "deleting") return true
    return yield* new StoreError({ operation: "delete", reason: "Contention", detail: "the project is changing hands" })
  }
  const lease = leaseOf(begun.project)
  const once = projects.commitDelete({ lease, machineDeleteAfterMs: routeTtlMs + router.replayTimeoutMs })
  /** Ours or another's, a delete that has begun is not given up. */
  const look = Effect.gen(function* () {
    const project = Option.getOrNull(yield* projects.find(projectId))?.project
    return project === undefined || !holds(project, lease) || (yield* once)
  })
  yield* once.pipe(
    Effect.flatMap((done) => (done ? Effect.succeed(true) : look)),
    Effect.catchIf(
      (error) => error.reason === "UnknownOutcome",
      () => look
    ),
    Effect.retry(lookAgain)
  )
  yield* (yield* Signals).poke("discard")
  return true
})
