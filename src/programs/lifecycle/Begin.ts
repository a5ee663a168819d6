/** A begin whose answer was lost may have begun: the row tells. Mine → go on; else it is answered from the row. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Archives } from "../../services/db/Archives.ts"
import { Machines } from "../../services/db/Machines.ts"
import type { Begun, ProjectView, Refused } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import type { StoreError } from "../../services/db/StoreError.ts"
import { lookAgain } from "./Committed.ts"

export const mineAfterAll =
  <B, E2, R2>(
    projectId: ProjectId,
    operationId: string,
    begunFrom: (view: ProjectView) => Effect.Effect<B | null, E2, R2>
  ) =>
  <A, R>(begin: Effect.Effect<A, StoreError, R>) =>
    begin.pipe(
      Effect.catchIf(
        (error) => error.reason === "UnknownOutcome",
        () =>
          Effect.gen(function* () {
            const found = yield* (yield* Projects).find(projectId).pipe(Effect.retry(lookAgain))
            const view = Option.getOrNull(found)
            const begun = view?.project.operationId === operationId ? yield* begunFrom(view) : null
            const refused: Refused = { _tag: "Refused", view }
            return begun ?? refused
          })
      )
    )

/** Of an archive or a rehost: the row and its machine. */
export const begunWithMachine = (view: ProjectView) =>
  Effect.succeed(
    view.machine === null ? null : { _tag: "Begun" as const, project: view.project, machine: view.machine }
  )

export const begunAlone = (view: ProjectView) => Effect.succeed({ _tag: "Begun" as const, project: view.project })

/** Of a wake: what the same statement claimed and read. */
export const begunWake = Effect.fnUntraced(function* (view: ProjectView) {
  const rows = yield* (yield* Machines).ofProject(view.project.projectId)
  const claimed = rows.find((row) => row.status === "assigned" && row.generation === view.project.generation)
  const archive = yield* (yield* Archives).current(view.project.uid)
  const begun: Begun = {
    _tag: "Begun",
    project: view.project,
    machine: claimed ?? null,
    archive: Option.getOrNull(archive)
  }
  return begun
})
