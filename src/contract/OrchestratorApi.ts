/** The orchestrator's API for its operator: `/api/projects…`, and what a server tells of itself on `/internal/keep-awake`. */
import * as Schema from "effect/Schema"
import { ProjectId } from "../domain/ProjectId.ts"
import { ServerState, ServerStatus } from "./OrchestratorStatus.ts"

/** `stopped`: it has a folder and no server. */
export const ProjectState = Schema.Literals(["stopped", ...ServerState.literals])

/** A server's part is null where none runs. */
export const ProjectView = Schema.Struct({
  project_id: ProjectId,
  state: ProjectState,
  connections: Schema.Int,
  started_at: ServerStatus.fields.started_at,
  stops_at: ServerStatus.fields.stops_at,
  cold_start_ms: ServerStatus.fields.cold_start_ms
})
export type ProjectView = typeof ProjectView.Type

/** Every project that has a folder or a server, by name. */
export const ProjectList = Schema.Struct({ projects: Schema.Array(ProjectView) })
export type ProjectList = typeof ProjectList.Type

/** As `valet.json` takes it: at most 365 days; 0: it is never stopped for idleness. */
const IdleSeconds = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 365 * 86_400 }))

/** Null: the orchestrator's own idle time. */
export const ProjectChange = Schema.Struct({ idle_timeout: Schema.NullOr(IdleSeconds) })

export const ProjectSettings = Schema.Struct({ project_id: ProjectId, ...ProjectChange.fields })
export type ProjectSettings = typeof ProjectSettings.Type

export const KeepAwake = Schema.Struct({
  /** From now; 0 ends it. */
  seconds: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3_600 })),
  /** Shown as the reason why it is awake. */
  reason: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(200)))
})

/** ISO 8601, UTC. */
export const KeptAwake = Schema.Struct({ awake_until: Schema.String })
export type KeptAwake = typeof KeptAwake.Type
