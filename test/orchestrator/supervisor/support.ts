/** A supervisor over imagined processes, and clients of it. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { KeepAwakeUrl } from "../../../src/orchestrator/KeepAwakeUrl.ts"
import { defaults, OrchestratorConfig } from "../../../src/orchestrator/OrchestratorConfig.ts"
import type { OrchestratorConfigValue } from "../../../src/orchestrator/OrchestratorConfig.ts"
import { ProjectFolders } from "../../../src/orchestrator/ProjectFolders.ts"
import type { NoPlan, ProjectPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { Starter, StartFailed } from "../../../src/orchestrator/Starter.ts"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import type { Target, Unavailable, Use } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost, layerFakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { layerSeededRandom } from "../../../src/testing/TestPlane.ts"

export const iso = (ms: number): string => DateTime.formatIso(DateTime.makeUnsafe(ms))
export const id = (name: string): ProjectId => ProjectId.make(name)
export const keepAwakeUrl = "http://127.0.0.1:7000/internal/keep-awake"

/** Plans as the tests set them. */
export class Plans extends Context.Service<
  Plans,
  {
    set(project: ProjectId, plan: Partial<ProjectPlan>): Effect.Effect<void>
    refuse(project: ProjectId, error: NoPlan): Effect.Effect<void>
    /** As a disk that does not answer. */
    hang(project: ProjectId): Effect.Effect<void>
  }
>()("test/Plans") {}

const layerFolders = Layer.effectContext(
  Effect.gen(function* () {
    const config = yield* OrchestratorConfig
    const changed = new Map<ProjectId, Partial<ProjectPlan>>()
    const refused = new Map<ProjectId, NoPlan>()
    const hanging = new Set<ProjectId>()
    const plan = (project: ProjectId): ProjectPlan => ({
      id: project,
      folder: `/data/${project}`,
      command: ["server"],
      cwd: `/data/${project}`,
      env: { PROJECT_ID: project },
      idleTimeoutMs: config.idleTimeoutMs,
      healthPath: config.healthPath,
      maxMemoryMb: null,
      warm: false,
      ...changed.get(project)
    })
    const folders = ProjectFolders.of({
      plan: (project) =>
        Effect.suspend(() => {
          if (hanging.has(project)) return Effect.never
          const error = refused.get(project)
          return error === undefined ? Effect.succeed(plan(project)) : Effect.fail(error)
        }),
      serves: () => Effect.succeed(true),
      ofHost: () => Effect.undefined,
      setIdleTimeout: () => Effect.void,
      all: Effect.succeed([])
    })
    const plans = Plans.of({
      set: (project, plan) => Effect.sync(() => void changed.set(project, plan)),
      hang: (project) => Effect.sync(() => void hanging.add(project)),
      refuse: (project, error) => Effect.sync(() => void refused.set(project, error))
    })
    return Context.make(ProjectFolders, folders).pipe(Context.add(Plans, plans))
  })
)

const pollMs = 10

/** Launches, and asks until the port accepts. */
const layerStarter = Layer.effect(
  Starter,
  Effect.gen(function* () {
    const host = yield* ServerHost
    const { spawnTimeoutMs } = yield* OrchestratorConfig
    return Starter.of({
      start: Effect.fnUntraced(function* (plan, env) {
        const { id, command, cwd } = plan
        const process = yield* Effect.mapError(
          host.launch({ name: id, command, cwd, env: { ...plan.env, ...env } }),
          ({ detail }) => new StartFailed({ reason: "launch", detail, output: [] })
        )
        const failed = (reason: StartFailed["reason"], detail: string) =>
          Effect.gen(function* () {
            const output = yield* process.output
            yield* process.stop(0)
            return yield* new StartFailed({ reason, detail, output })
          })
        const probe = yield* host.probe(process.port, plan.healthPath, 100).pipe(
          Effect.tap(({ _tag }) => (_tag === "Closed" ? Effect.sleep(pollMs) : Effect.void)),
          Effect.repeat({ while: ({ _tag }) => _tag === "Closed" }),
          Effect.raceFirst(Effect.flatMap(process.exited, ({ code }) => failed("exited", `exited with code ${code}`))),
          Effect.timeoutOrElse({
            duration: spawnTimeoutMs,
            orElse: () => failed("timeout", `not ready within ${spawnTimeoutMs} ms`)
          })
        )
        return { process, warm: false, hasHealthPath: probe._tag === "Healthy" }
      })
    })
  })
)

/** Every test ends so: time goes on while all is stopped, nothing is left, and nowhere there were two of one project. */
const layerAtRest = Layer.effectDiscard(
  Effect.gen(function* () {
    const { drain } = yield* Supervisor
    const host = yield* FakeServerHost
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(drain)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(yield* host.live, [])
        assert.isAtMost(yield* host.maxLivePerName, 1)
      })
    )
  })
)

export const layer = (
  config: Partial<OrchestratorConfigValue> = {},
  starter: Layer.Layer<Starter, never, ServerHost | OrchestratorConfig> = layerStarter
) =>
  layerAtRest.pipe(
    Layer.provideMerge(Supervisor.layer),
    Layer.provideMerge(starter),
    Layer.provideMerge(
      Layer.mergeAll(
        layerFakeServerHost,
        layerFolders,
        layerSeededRandom,
        Layer.effectDiscard(Effect.flatMap(KeepAwakeUrl, (it) => it.set(keepAwakeUrl))).pipe(
          Layer.provideMerge(KeepAwakeUrl.layer)
        )
      )
    ),
    Layer.provideMerge(Layer.succeed(OrchestratorConfig, { ...defaults, command: ["server"], ...config }))
  )

export interface Client {
  readonly fiber: Fiber.Fiber<Target, Unavailable>
  readonly leave: Effect.Effect<void>
}

/** A client that has asked, and stays until it leaves. */
export const enter = Effect.fnUntraced(function* (project: string, use: Partial<Use> = {}) {
  const supervisor = yield* Supervisor
  const scope = yield* Scope.make()
  const fiber = yield* supervisor
    .use({ project: id(project), kind: "request", client: null, ...use })
    .pipe(Scope.provide(scope), Effect.forkChild({ startImmediately: true }))
  const client: Client = { fiber, leave: Scope.close(scope, Exit.void) }
  return client
})

/** What a started project takes until it is ready, and a little more. */
export const startMs = 100

/** Asks, and gives the supervisor the time to start a server. */
export const served = Effect.fnUntraced(function* (project: string, use: Partial<Use> = {}) {
  const client = yield* enter(project, use)
  yield* TestClock.adjust(startMs)
  const exit = client.fiber.pollUnsafe()
  if (exit === undefined || Exit.isFailure(exit)) return yield* Effect.die(exit ?? `${project} is not served in time`)
  return { ...client, target: exit.value }
})

/** A request that is over as soon as it was served. */
export const request = Effect.fnUntraced(function* (project: string, use: Partial<Use> = {}) {
  const client = yield* served(project, use)
  yield* client.leave
  return client.target
})

/** Steps that other fibers may take before the test goes on, where no time has to pass. */
const steps = 50

/** How a client was refused; dies where it was not. */
export const refusal = Effect.fnUntraced(function* (client: Client) {
  yield* Effect.repeat(Effect.yieldNow, { times: steps, while: () => client.fiber.pollUnsafe() === undefined })
  const exit = client.fiber.pollUnsafe()
  if (exit === undefined || Exit.isSuccess(exit)) return yield* Effect.die("it was not refused")
  const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
  return failure === undefined ? yield* Effect.die(exit.cause) : failure.error
})

export const statusOf = Effect.fnUntraced(function* (project: string) {
  const all = yield* (yield* Supervisor).status
  return all.find(({ project_id }) => project_id === project) ?? null
})

export const stateOf = (project: string) => Effect.map(statusOf(project), (status) => status?.state ?? null)

/** What the effect gives within so much time, which passes; dies where it is not done by then. */
export const within = Effect.fnUntraced(function* <A, E, R>(ms: number, effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
  yield* TestClock.adjust(ms)
  const exit = fiber.pollUnsafe()
  return exit === undefined ? yield* Effect.die(`not done within ${ms} ms`) : yield* exit
})
