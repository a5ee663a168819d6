/** Settings that a server keeps itself: told to a started machine at once, to a sleeping one when it is seen awake. */
import * as Effect from "effect/Effect"
import type { ProjectView } from "../../services/db/Projects.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"
import { machineCallMs } from "./limits.ts"

/** Best effort: the same again is harmless, and every `configure` carries them too. */
export const tellSettings = (view: ProjectView, limitMs = machineCallMs) =>
  Effect.gen(function* () {
    if (view.machine === null || view.project.operation !== "none") return
    yield* (yield* MachineClient).settings(
      view.machine,
      {
        project_uid: view.project.uid,
        generation: view.project.generation,
        idle_timeout_seconds: view.project.settings.idleTimeoutSeconds
      },
      { limitMs }
    )
  }).pipe(
    Effect.catch((error) =>
      Effect.logInfo("settings not told: its machine hears of them when it is next seen awake", {
        projectId: view.project.projectId,
        error
      })
    )
  )
