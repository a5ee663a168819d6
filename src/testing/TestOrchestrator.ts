/**
 * An orchestrator's supervisor in memory, for tests and for embedders' tests: the real programs over processes that are
 * only imagined (`FakeServerHost` says what they do). Time is the Clock's: give it a TestClock. Without warm servers.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { ProjectId } from "../domain/ProjectId.ts"
import { KeepAwakeUrl } from "../orchestrator/KeepAwakeUrl.ts"
import { defaults, OrchestratorConfig, type OrchestratorConfigValue } from "../orchestrator/OrchestratorConfig.ts"
import { ProjectFolders, type ProjectPlan } from "../orchestrator/ProjectFolders.ts"
import { Starter } from "../orchestrator/Starter.ts"
import { Supervisor } from "../orchestrator/Supervisor.ts"
import { WarmServers } from "../orchestrator/WarmServers.ts"
import { layerFakeServerHost } from "./FakeServerHost.ts"
import { layerSeededRandom } from "./TestPlane.ts"

export interface TestOrchestratorOptions {
  /** Beside the command line's defaults. */
  readonly config?: Partial<OrchestratorConfigValue>
  /** What a project's `valet.json` would say; asked at each start. */
  readonly planFor?: (project: ProjectId) => Partial<ProjectPlan>
}

const layerFolders = (planFor: (project: ProjectId) => Partial<ProjectPlan>) =>
  Layer.effect(
    ProjectFolders,
    Effect.map(OrchestratorConfig, (config) =>
      ProjectFolders.of({
        plan: (id) =>
          Effect.sync(() => ({
            id,
            folder: `/data/${id}`,
            command: config.command,
            cwd: "/",
            env: { PROJECT_ID: id, DATA_DIR: `/data/${id}`, DATABASE_PATH: `/data/${id}/project.db` },
            idleTimeoutMs: config.idleTimeoutMs,
            healthPath: config.healthPath,
            maxMemoryMb: null,
            warm: false,
            ...planFor(id)
          })),
        serves: () => Effect.succeed(true),
        ofHost: () => Effect.undefined,
        setIdleTimeout: () => Effect.void,
        all: Effect.succeed([])
      })
    )
  )

const layerKeepAwakeUrl = Layer.effectDiscard(
  Effect.flatMap(KeepAwakeUrl, ({ set }) => set("http://127.0.0.1:7000/internal/keep-awake"))
).pipe(Layer.provideMerge(KeepAwakeUrl.layer))

export const layerTestOrchestrator = ({ config = {}, planFor = () => ({}) }: TestOrchestratorOptions = {}) =>
  Supervisor.layer.pipe(
    Layer.provideMerge(Starter.layer),
    Layer.provide(Layer.succeed(WarmServers, { take: () => Effect.undefined, ready: Effect.succeed(0) })),
    Layer.provideMerge(
      Layer.mergeAll(layerFakeServerHost, layerFolders(planFor), layerSeededRandom, layerKeepAwakeUrl)
    ),
    Layer.provideMerge(Layer.succeed(OrchestratorConfig, { ...defaults, command: ["server"], ...config }))
  )
