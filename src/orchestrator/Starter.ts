/** From a plan to a server that answers: claimed from the warm ones, or launched and waited for. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ProjectPlan } from "./ProjectFolders.ts"
import type { ServerProcess } from "./ServerHost.ts"

export class StartFailed extends Schema.TaggedError<StartFailed>()("StartFailed", {
  reason: Schema.Literals(["launch", "exited", "timeout"]),
  detail: Schema.String,
  /** Its last lines. */
  output: Schema.Array(Schema.String)
}) {
  override get message() {
    return this.detail
  }
}

export interface Started {
  readonly process: ServerProcess
  readonly warm: boolean
  /** A check of its health path means something; else only that its port accepts. */
  readonly hasHealthPath: boolean
  /** With which it says that it is busy, where it has another than `env` gave: a warm server got its own when it was launched. */
  readonly keepAwakeToken?: string
}

export class Starter extends Context.Service<
  Starter,
  {
    /**
     * Ready to be connected to, within the spawn timeout; whatever was started is gone when this fails. `env` is added
     * to the plan's. The process ends with the scope.
     */
    start(plan: ProjectPlan, env: Readonly<Record<string, string>>): Effect.Effect<Started, StartFailed, Scope.Scope>
  }
>()("valet/Starter") {}
