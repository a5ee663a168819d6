/**
 * Opening a sealed server again, with the generation of a row that is active. Never before the row: an unseal for a
 * generation whose archive commit may still be in flight would let a write in that the archive does not have.
 */
import * as Effect from "effect/Effect"
import type { ProjectView } from "../../services/db/Projects.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { machineCallMs } from "./limits.ts"

export const unsealNow = (view: ProjectView, limitMs = machineCallMs) =>
  Effect.gen(function* () {
    if (view.machine === null || view.project.operation !== "none") return
    yield* (yield* MachineClient).unseal(
      view.machine,
      { project_uid: view.project.uid, generation: view.project.generation },
      { limitMs }
    )
  })

/** Best effort: a server that stays sealed sends its requests back, and the router unseals it then. */
export const unseal = (view: ProjectView, limitMs = machineCallMs) =>
  unsealNow(view, limitMs).pipe(
    Effect.catch((error) =>
      Effect.logWarning("not unsealed, its next request will", { projectId: view.project.projectId, error })
    )
  )
