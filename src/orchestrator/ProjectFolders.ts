/** The data folder's projects: who may have a server, and what runs it. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ProjectId } from "../domain/ProjectId.ts"

export interface ProjectPlan {
  readonly id: ProjectId
  /** Absolute, made if it was not there, and inside the data folder also where links are followed. */
  readonly folder: string
  readonly command: ReadonlyArray<string>
  readonly cwd: string
  /** PROJECT_ID, DATA_DIR, DATABASE_PATH and what `valet.json` adds. */
  readonly env: Readonly<Record<string, string>>
  readonly idleTimeoutMs: number
  readonly healthPath: string
  readonly maxMemoryMb: number | null
  /** It runs exactly what a warm server runs. */
  readonly warm: boolean
}

/** `forbidden`: not allowed or not existing, told apart for nobody outside. `invalid`: its folder or valet.json can't be used. */
export class NoPlan extends Schema.TaggedError<NoPlan>()("NoPlan", {
  reason: Schema.Literals(["forbidden", "invalid"]),
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

export class ProjectFolders extends Context.Service<
  ProjectFolders,
  {
    /** Reads `valet.json` anew each time. */
    plan(id: ProjectId): Effect.Effect<ProjectPlan, NoPlan>
    /** Could `plan` succeed? Makes nothing. */
    serves(id: ProjectId): Effect.Effect<boolean>
    /** The project whose `valet.json` lists this host name (lower case, without port). */
    ofHost(host: string): Effect.Effect<ProjectId | undefined>
    /** Writes `idle_timeout` to the project's `valet.json`; null removes it. */
    setIdleTimeout(id: ProjectId, idleTimeoutMs: number | null): Effect.Effect<void, NoPlan>
    /** Ids of all projects that have a folder. */
    readonly all: Effect.Effect<ReadonlyArray<ProjectId>>
  }
>()("valet/ProjectFolders") {}
