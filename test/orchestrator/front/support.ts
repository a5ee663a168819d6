import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Caller } from "../../../src/orchestrator/Caller.ts"
import { Front } from "../../../src/orchestrator/Front.ts"
import {
  defaults,
  OrchestratorConfig,
  type OrchestratorConfigValue
} from "../../../src/orchestrator/OrchestratorConfig.ts"
import { OwnEndpoints } from "../../../src/orchestrator/OwnEndpoints.ts"
import { ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import { Supervisor, type Target, type Unavailable, type Use } from "../../../src/orchestrator/Supervisor.ts"
import * as ProjectId from "../../../src/domain/ProjectId.ts"

export interface Stubs {
  /** Whom a request reaches; a number is the port of a process 1. */
  readonly use: (use: Use) => Effect.Effect<Target | number, Unavailable, Scope.Scope>
  /** Whom it reaches on the spot; by default nobody. */
  readonly tryUse?: (use: Use) => Target | undefined
  readonly hosts?: Readonly<Record<string, string>>
  readonly config?: Partial<OrchestratorConfigValue>
}

export interface Fronted {
  readonly port: number
  readonly refuse: Effect.Effect<void>
  /** Every use, in order. */
  readonly uses: Array<{ readonly project: string; readonly kind: Use["kind"]; readonly client: string | null }>
  /** Uses that have not ended. */
  readonly open: () => number
  /** What reached the orchestrator's own endpoints. */
  readonly own: Array<{ readonly url: string; readonly caller: Caller }>
}

/** A front on a free port over stubs. */
export const front = (stubs: Stubs): Effect.Effect<Fronted, never, Scope.Scope> =>
  Effect.gen(function* () {
    const uses: Fronted["uses"] = []
    const own: Fronted["own"] = []
    let open = 0
    const supervisor = Layer.mock(Supervisor)({
      tryUse: (use) => {
        const target = stubs.tryUse?.(use)
        if (target === undefined) return undefined
        uses.push(use)
        open += 1
        return { target, release: () => (open -= 1) }
      },
      use: (use) =>
        Effect.gen(function* () {
          uses.push(use)
          yield* Effect.acquireRelease(
            Effect.sync(() => (open += 1)),
            () => Effect.sync(() => (open -= 1))
          )
          const target = yield* stubs.use(use)
          return typeof target === "number" ? { pid: 1, port: target } : target
        })
    })
    const folders = Layer.mock(ProjectFolders)({
      ofHost: (host) => Effect.sync(() => ProjectId.parse(stubs.hosts?.[host] ?? ""))
    })
    const endpoints = Layer.succeed(OwnEndpoints, {
      handle: ({ caller, request, response }) =>
        Effect.sync(() => {
          own.push({ url: request.url ?? "", caller })
          response.end("own")
        })
    })
    const config = Layer.succeed(OrchestratorConfig, {
      ...defaults,
      port: 0,
      dataDir: "/nowhere",
      command: [],
      ...stubs.config
    })
    const layer = Front.layer.pipe(Layer.provide([supervisor, folders, endpoints, config]))
    const { port, refuse } = Context.get(yield* Layer.build(layer).pipe(Effect.orDie), Front)
    return { port, refuse, uses, own, open: () => open }
  })

/** A front whose projects are all served by one port, where process 1 runs. */
export const frontOf = (port: number, more: Omit<Stubs, "use"> = {}) =>
  front({ use: () => Effect.succeed(port), tryUse: () => ({ pid: 1, port }), ...more })

export { closedPort, eventually, raw, send, serve, settled } from "../../local/edge/support.ts"
