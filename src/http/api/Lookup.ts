/** The living project that a path names. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ProjectId from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import { fromStore, unknownProject } from "./Failures.ts"

export const lookup = Effect.fnUntraced(function* (id: string) {
  const projectId = ProjectId.parse(id)
  if (projectId === undefined) return yield* unknownProject()
  const found = yield* Projects.use((projects) => projects.find(projectId)).pipe(
    Effect.catchTag("StoreError", fromStore)
  )
  if (Option.isNone(found) || found.value.project.state === "deleted") return yield* unknownProject()
  return found.value
})

/** For programs that look themselves: only what can't be an id is told here. */
export const parseId = (id: string) => {
  const projectId = ProjectId.parse(id)
  return projectId === undefined ? Effect.fail(unknownProject()) : Effect.succeed(projectId)
}
