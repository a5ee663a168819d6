/** `<data-dir>/.valet`: the lock, the admin token, the marks of running children, their logs. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { ProcessMark } from "../process/ProcessMark.ts"

export class OrchestratorFolderError extends Schema.TaggedError<OrchestratorFolderError>()("OrchestratorFolderError", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

export class OrchestratorFolder extends Context.Service<
  OrchestratorFolder,
  {
    /** The data folder, absolute, links followed. */
    readonly root: string
    /** A path in `<data-dir>/.valet`. */
    own(...parts: ReadonlyArray<string>): string
    readonly adminToken: Redacted.Redacted
    /** Written down before its program runs; found and ended by the next orchestrator if this one is killed. */
    noteChild(mark: ProcessMark): Effect.Effect<void, OrchestratorFolderError>
    forgetChild(mark: ProcessMark): Effect.Effect<void>
  }
>()("valet/OrchestratorFolder") {}
