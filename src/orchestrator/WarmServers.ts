/**
 * Servers of the default command that are started before anybody needs them, and become a project's by one call of the
 * machine protocol: a cold start is a claim then.
 *
 * Each is handed out once. One whose claim failed may have opened the project's database: it is gone, for certain,
 * before anybody else is started on it.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import type { ProjectPlan } from "./ProjectFolders.ts"
import * as Readiness from "./Readiness.ts"
import { ServerHost } from "./ServerHost.ts"
import type { Started } from "./Starter.ts"
import { WarmClaim } from "./warm/WarmClaim.ts"
import { WarmFolders } from "./warm/WarmFolder.ts"
import * as WarmServer from "./warm/WarmServer.ts"

/** After a launch that failed or a server that was lost, for each place: 1, 2, 4 … 30 s. */
const backoff = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("30 seconds")])
/** Between a claim and the launch of the next one: the cores are first for those who are being claimed. */
const pause = "1 second"
const probeMs = 5_000
/** A server whose claim failed serves nobody. */
const vainStopMs = 2_000

export class WarmServers extends Context.Service<
  WarmServers,
  {
    /**
     * A warm server that is this project's from here on, ready, and ended with the scope; undefined where none is ready,
     * where the project needs one that is launched on its folder, or where the claim failed, for which it has a third of
     * the spawn timeout. What a failed or interrupted claim may have begun is gone then.
     */
    take(plan: ProjectPlan): Effect.Effect<Started | undefined, never, Scope.Scope>
    /** How many wait for a project. */
    readonly ready: Effect.Effect<number>
  }
>()("valet/WarmServers") {
  static readonly layerNoDeps = Layer.effect(
    WarmServers,
    Effect.gen(function* () {
      const config = yield* OrchestratorConfig
      const host = yield* ServerHost
      const folders = yield* WarmFolders
      const services = yield* Effect.context<OrchestratorConfig | SecureRandom.SecureRandom | ServerHost | WarmClaim>()
      /** Oldest first. */
      const waiting = new Set<WarmServer.WarmServer>()
      /** One after the other, so that a refill takes no more than one core from those who are served. */
      const starting = yield* Semaphore.make(1)

      const start = (place: number) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const scope = yield* Scope.make()
            const server = yield* restore(WarmServer.launch(place, scope)).pipe(
              Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
            )
            waiting.add(server)
            return server
          })
        )

      /** Until it is taken; fails once it is good for nothing any more. */
      const watched = (server: WarmServer.WarmServer) => {
        const exited = Effect.flatMap(server.process.exited, (exit) =>
          Effect.fail(new WarmServer.Lost({ detail: Readiness.exitText(exit) }))
        )
        const sick = host.probe(server.process.port, config.healthPath, probeMs).pipe(
          Effect.repeat({
            schedule: Schedule.spaced(config.healthCheckIntervalMs),
            while: ({ _tag }) => _tag === "Healthy" || _tag === "Listening"
          }),
          Effect.flatMap((probe) => Effect.fail(new WarmServer.Lost({ detail: Readiness.stateText(probe) })))
        )
        return Effect.raceFirst(Deferred.await(server.taken), Effect.raceFirst(exited, sick)).pipe(
          Effect.catch((error) =>
            Effect.suspend(() =>
              // Whoever took it meanwhile sees for himself.
              waiting.delete(server)
                ? Effect.andThen(Scope.close(server.scope, Exit.void), Effect.fail(error))
                : Effect.void
            )
          )
        )
      }

      const kept = (place: number) =>
        Effect.flatMap(starting.withPermit(start(place)), watched).pipe(
          Effect.catchDefect((defect) => Effect.fail(new WarmServer.Lost({ detail: String(defect) }))),
          Effect.tapError(({ detail }) => Effect.logWarning(`warm server ${place}: ${detail}`)),
          Effect.retry(backoff),
          Effect.repeat(Schedule.spaced(pause))
        )

      const claimed = (server: WarmServer.WarmServer, plan: ProjectPlan) =>
        Effect.provideContext(WarmServer.claim(server, plan, config.spawnTimeoutMs / 3), services)

      const handOver = (plan: ProjectPlan) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const [server] = waiting
            if (server === undefined) return undefined
            waiting.delete(server)
            const { process, scope, keepAwakeToken } = server
            yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
            yield* process.rename(plan.id)
            yield* Deferred.succeed(server.taken, undefined)
            return yield* restore(claimed(server, plan)).pipe(
              Effect.onError((cause) =>
                Effect.andThen(
                  process.stop(Math.min(config.stopGraceMs, vainStopMs)),
                  Scope.close(scope, Exit.failCause(cause))
                )
              ),
              Effect.map(({ hasHealthPath }): Started => ({ process, warm: true, hasHealthPath, keepAwakeToken })),
              Effect.catch((error) =>
                Effect.as(
                  Effect.logWarning(`a warm server can't become ${plan.id}'s, which is started anew: ${error.message}`),
                  undefined
                )
              )
            )
          })
        )

      const take = Effect.fn("WarmServers.take")(function* (plan: ProjectPlan) {
        if (waiting.size === 0 || !WarmServer.opensDatabaseOf(plan)) return undefined
        return (yield* folders.holdsState(plan.folder)) ? undefined : yield* handOver(plan)
      })

      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const left = [...waiting]
          waiting.clear()
          return Effect.forEach(left, ({ scope }) => Scope.close(scope, Exit.void), {
            concurrency: "unbounded",
            discard: true
          })
        })
      )
      for (let place = 1; place <= config.warmServers; place++) {
        yield* kept(place).pipe(
          Effect.tapCause((cause) =>
            Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("a warm server is not kept any more", cause)
          ),
          Effect.forkScoped
        )
      }
      return WarmServers.of({ take, ready: Effect.sync(() => waiting.size) })
    })
  )

  static readonly layer = this.layerNoDeps.pipe(Layer.provide([WarmClaim.layer, WarmFolders.layer]))
}
