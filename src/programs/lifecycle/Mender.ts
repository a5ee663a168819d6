/** What a loop asks for when it finds a project's machine missing: the shared heal of this instance, not waited for. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { ProjectId } from "../../domain/ProjectId.ts"

export class Mender extends Context.Service<Mender, { mend(projectId: ProjectId): Effect.Effect<void> }>()(
  "valet/Mender"
) {}
