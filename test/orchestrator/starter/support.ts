/** The starter and its warm servers over imagined processes, folders and calls, all on the test clock. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type { ConfigureRequest } from "../../../src/contract/MachineProtocol.ts"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { KeepAwakeUrl } from "../../../src/orchestrator/KeepAwakeUrl.ts"
import {
  defaults,
  OrchestratorConfig,
  type OrchestratorConfigValue
} from "../../../src/orchestrator/OrchestratorConfig.ts"
import type { ProjectPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { Starter } from "../../../src/orchestrator/Starter.ts"
import { ClaimFailed, WarmClaim } from "../../../src/orchestrator/warm/WarmClaim.ts"
import { WarmFolders } from "../../../src/orchestrator/warm/WarmFolder.ts"
import { WarmServers } from "../../../src/orchestrator/WarmServers.ts"
import { layerFakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { layerSeededRandom } from "../../../src/testing/TestPlane.ts"

export const keepAwakeUrl = "http://127.0.0.1:7000/internal/keep-awake"

export const plan = (id: string, overrides: Partial<ProjectPlan> = {}): ProjectPlan => ({
  id: ProjectId.make(id),
  folder: `/projects/${id}`,
  command: ["own-server"],
  cwd: "/",
  env: { PROJECT_ID: id },
  idleTimeoutMs: 300_000,
  healthPath: "/health",
  maxMemoryMb: null,
  warm: true,
  ...overrides
})

export interface Claim {
  readonly port: number
  readonly secret: Redacted.Redacted
  readonly request: ConfigureRequest
}

/** What the imagined servers say to a claim, and what was asked of them. */
export class FakeClaims extends Context.Service<
  FakeClaims,
  {
    readonly claims: Array<Claim>
    /** Folders that were given to servers, by the warm folder's own name. */
    readonly assigned: Map<string, string>
    /** Warm folders that are there. */
    readonly folders: Set<string>
    /** Projects whose folder holds a state file. */
    readonly withState: Set<string>
    /** 202 so often before it is ready; `refused`; or it never answers. */
    answer: number | "refused" | "silent"
    /** What the health path says afterwards; undefined: the project that was configured. */
    says: string | null | undefined
  }
>()("test/FakeClaims") {}

const layerFakeClaims = Layer.sync(FakeClaims, () => ({
  claims: [],
  assigned: new Map<string, string>(),
  folders: new Set<string>(),
  withState: new Set<string>(),
  answer: 0,
  says: undefined
}))

const layerFakeClaim = Layer.effect(
  WarmClaim,
  Effect.map(FakeClaims, (fake) =>
    WarmClaim.of({
      configure: (port, secret, request) =>
        Effect.suspend(() => {
          fake.claims.push({ port, secret, request })
          if (fake.answer === "silent") return Effect.never
          if (fake.answer === "refused") return Effect.fail(new ClaimFailed({ detail: "refused" }))
          return Effect.succeed(fake.claims.filter((it) => it.port === port).length > fake.answer)
        }),
      projectOf: (port) =>
        Effect.sync(() =>
          fake.says === undefined
            ? (fake.claims.findLast((it) => it.port === port)?.request.project_id ?? null)
            : fake.says
        )
    })
  )
)

const layerFakeFolders = Layer.effect(
  WarmFolders,
  Effect.map(FakeClaims, (fake) =>
    WarmFolders.of({
      make: (name) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            fake.folders.add(name)
            return {
              dataDir: `/warm/${name}/data`,
              stateDir: `/warm/${name}/state`,
              assign: (folder: string) => Effect.sync(() => void fake.assigned.set(name, folder))
            }
          }),
          () => Effect.sync(() => fake.folders.delete(name))
        ),
      holdsState: (folder) => Effect.sync(() => fake.withState.has(folder))
    })
  )
)

const layerKeepAwake = Layer.effectDiscard(Effect.flatMap(KeepAwakeUrl, ({ set }) => set(keepAwakeUrl))).pipe(
  Layer.provideMerge(KeepAwakeUrl.layer)
)

export const layerImagined = (config: Partial<OrchestratorConfigValue> = {}) =>
  Starter.layer.pipe(
    Layer.provideMerge(WarmServers.layerNoDeps),
    Layer.provide([layerFakeClaim, layerFakeFolders]),
    Layer.provideMerge(Layer.mergeAll(layerFakeServerHost, layerFakeClaims, layerKeepAwake)),
    Layer.provide([layerSeededRandom, Path.layer]),
    Layer.provide(
      Layer.succeed(OrchestratorConfig, { ...defaults, dataDir: "/projects", command: ["default-server"], ...config })
    )
  )

/** In steps, so that whoever wakes up reaches his next sleep before time goes on. */
export const pass = (ms: number, stepMs = 50) =>
  Effect.gen(function* () {
    for (let left = ms; left > 0; left -= stepMs) yield* TestClock.adjust(Math.min(stepMs, left))
  })
