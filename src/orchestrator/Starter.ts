/** From a plan to a server that answers: claimed from the warm ones, or launched and waited for. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import type { ProjectPlan } from "./ProjectFolders.ts"
import * as Readiness from "./Readiness.ts"
import { ServerHost, type ServerProcess } from "./ServerHost.ts"
import { WarmServers } from "./WarmServers.ts"

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

/** A server that never was ready has nothing to finish; its grace is at most this long. */
const vainStopMs = 2_000

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
     * Ready to be connected to, within the spawn timeout, and a third of it more where a warm server was claimed in vain;
     * whatever was started is gone when this fails or is interrupted. `env` is added to the plan's; a warm server has
     * its own. The process ends with the scope.
     */
    start(plan: ProjectPlan, env: Readonly<Record<string, string>>): Effect.Effect<Started, StartFailed, Scope.Scope>
  }
>()("valet/Starter") {
  static readonly layer = Layer.effect(
    Starter,
    Effect.gen(function* () {
      const host = yield* ServerHost
      const warm = yield* WarmServers
      const { spawnTimeoutMs, stopGraceMs } = yield* OrchestratorConfig

      const launch = Effect.fnUntraced(function* (plan: ProjectPlan, env: Readonly<Record<string, string>>) {
        const process = yield* host.launch({
          name: plan.id,
          command: plan.command,
          cwd: plan.cwd,
          env: { ...plan.env, ...env }
        })
        const { hasHealthPath } = yield* Readiness.awaitReady(host, process, plan.healthPath, spawnTimeoutMs).pipe(
          Effect.onError(() => process.stop(Math.min(stopGraceMs, vainStopMs)))
        )
        return { process, warm: false, hasHealthPath } satisfies Started
      })

      const cold = (plan: ProjectPlan, env: Readonly<Record<string, string>>) =>
        Effect.gen(function* () {
          const own = yield* Scope.fork(yield* Effect.scope)
          return yield* launch(plan, env).pipe(
            Scope.provide(own),
            Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
          )
        }).pipe(
          Effect.catchTags({
            LaunchError: (error) =>
              Effect.fail(new StartFailed({ reason: "launch", detail: error.message, output: [] })),
            NotReady: ({ reason, detail, output }) => Effect.fail(new StartFailed({ reason, detail, output }))
          })
        )

      return Starter.of({
        start: Effect.fn("Starter.start")(function* (plan, env) {
          const claimed = plan.warm ? yield* warm.take(plan) : undefined
          return claimed ?? (yield* cold(plan, env))
        })
      })
    })
  )
}
