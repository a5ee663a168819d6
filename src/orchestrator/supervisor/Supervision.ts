/** What the parts of the supervisor share. */
import type { ProjectId } from "../../domain/ProjectId.ts"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type { KeepAwakeUrl } from "../KeepAwakeUrl.ts"
import type { OrchestratorConfigValue } from "../OrchestratorConfig.ts"
import type { ProjectFolders } from "../ProjectFolders.ts"
import type { ServerHost } from "../ServerHost.ts"
import type { Starter } from "../Starter.ts"
import type { Crashes } from "./Backoff.ts"
import type { Capacity } from "./Capacity.ts"
import type { Entry } from "./Entry.ts"
import type { SpawnRate } from "./SpawnRate.ts"
import type { Totals } from "./Totals.ts"

export interface Supervision {
  readonly config: OrchestratorConfigValue
  readonly folders: ProjectFolders["Service"]
  readonly starter: Starter["Service"]
  readonly host: ServerHost["Service"]
  readonly keepAwakeUrl: KeepAwakeUrl["Service"]
  readonly random: SecureRandom.SecureRandom["Service"]
  readonly entries: Map<ProjectId, Entry>
  readonly capacity: Capacity
  readonly crashes: Crashes
  readonly spawnRate: SpawnRate
  readonly totals: { -readonly [K in keyof Totals]: Totals[K] }
  draining: boolean
}
