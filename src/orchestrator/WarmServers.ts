/**
 * Servers of the default command that are started before anybody needs them, and become a project's by one call of the
 * machine protocol: a cold start is a claim then.
 *
 * Each is handed out once. One whose claim failed may have opened the project's database: it is gone, for certain,
 * before anybody else is started on it.
 */
import { createHash } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type { ConfigureRequest } from "../contract/MachineProtocol.ts"
import { token } from "../programs/Ids.ts"
import { KeepAwakeUrl } from "./KeepAwakeUrl.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import type { ProjectPlan } from "./ProjectFolders.ts"
import * as Readiness from "./Readiness.ts"
import { ServerHost, type ServerProcess } from "./ServerHost.ts"
import type { Started } from "./Starter.ts"
import { ClaimFailed, WarmClaim } from "./WarmClaim.ts"
import { type WarmFolder, WarmFolders } from "./WarmFolder.ts"

interface WarmServer {
  readonly process: ServerProcess
  readonly folder: WarmFolder
  readonly secret: Redacted.Redacted
  readonly keepAwakeToken: string
  /** Its process and its folder. */
  readonly scope: Scope.Closeable
  readonly taken: Deferred.Deferred<void>
}

/** A warm server that was lost or never came. */
class Lost extends Schema.TaggedError<Lost>()("Lost", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** After a launch that failed or a server that was lost, for each place: 1, 2, 4 … 30 s. */
const backoff = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("30 seconds")])
const probeMs = 5_000
const pollMs = 50
/** It serves nobody any more. */
const vainStopMs = 2_000
/** The orchestrator listens soon after it began to keep servers warm, or not at all. */
const urlMs = 30_000
/** 160 bits. */
const secretLength = 32

/** The same for each claim of a project, as if its folder were its machine's volume. */
const uidOf = (id: string): string => createHash("sha256").update(`valet-orchestrator ${id}`).digest("hex").slice(0, 32)

const lost = (error: { readonly message: string }) => new Lost({ detail: error.message })

export class WarmServers extends Context.Service<
  WarmServers,
  {
    /**
     * A warm server that is this project's from here on, ready, and ended with the scope; undefined where none is ready,
     * where the project needs one that is launched on its folder, or where the claim failed. What a failed or interrupted
     * claim may have begun is gone then.
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
      const claims = yield* WarmClaim
      const folders = yield* WarmFolders
      const keepAwake = yield* KeepAwakeUrl
      const random = yield* SecureRandom.SecureRandom
      const cwd = (yield* Path.Path).resolve(".")
      const secret = Effect.provideService(token(secretLength), SecureRandom.SecureRandom, random)
      /** Oldest first. */
      const waiting = new Set<WarmServer>()
      /** One after the other, so that a refill takes no more than one core from those who are served. */
      const starting = yield* Semaphore.make(1)

      const launched = Effect.fnUntraced(
        function* (place: number, scope: Scope.Closeable) {
          const name = `_warm-${place}`
          const folder = yield* folders.make(`${place}-${yield* token(8)}`)
          const own = yield* secret
          const keepAwakeToken = yield* secret
          const url = yield* keepAwake.url.pipe(
            Effect.timeoutOrElse({
              duration: urlMs,
              orElse: () => Effect.fail(new Lost({ detail: "where to tell that it is busy is not known yet" }))
            })
          )
          const process = yield* host.launch({
            name,
            command: config.command,
            cwd,
            env: {
              DATA_DIR: folder.dataDir,
              DATABASE_PATH: `${folder.dataDir}/${databaseName}`,
              VALET_STATE_DIR: folder.stateDir,
              VALET_INTERNAL_SECRET: own,
              VALET_IDLE_SUSPEND: "fly",
              VALET_KEEP_AWAKE_URL: url,
              VALET_KEEP_AWAKE_TOKEN: keepAwakeToken
            }
          })
          yield* Readiness.awaitReady(host, process, config.healthPath, config.spawnTimeoutMs)
          const taken = yield* Deferred.make<void>()
          return { process, folder, secret: Redacted.make(own), keepAwakeToken, scope, taken } satisfies WarmServer
        },
        (effect, _place, scope) => Effect.mapError(Scope.provide(effect, scope), lost)
      )

      const start = (place: number) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const scope = yield* Scope.make()
            const server = yield* restore(launched(place, scope)).pipe(
              Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
            )
            waiting.add(server)
            return server
          })
        )

      /** Until it is taken; fails once it is good for nothing any more. */
      const watched = (server: WarmServer) => {
        const exited = Effect.flatMap(server.process.exited, (exit) =>
          Effect.fail(new Lost({ detail: Readiness.exitText(exit) }))
        )
        const sick = host.probe(server.process.port, config.healthPath, probeMs).pipe(
          Effect.repeat({
            schedule: Schedule.spaced(config.healthCheckIntervalMs),
            while: ({ _tag }) => _tag === "Healthy" || _tag === "Listening"
          }),
          Effect.flatMap((probe) =>
            Effect.fail(new Lost({ detail: probe._tag === "Unhealthy" ? probe.detail : "nobody accepts on its port" }))
          )
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
          Effect.catchDefect((defect) => Effect.fail(new Lost({ detail: String(defect) }))),
          Effect.tapError(({ detail }) => Effect.logWarning(`warm server ${place}: ${detail}`)),
          Effect.retry(backoff),
          Effect.forever
        )

      const claim = Effect.fnUntraced(function* (server: WarmServer, plan: ProjectPlan) {
        const { process, folder, keepAwakeToken } = server
        yield* folder.assign(plan.folder)
        const request: ConfigureRequest = {
          project_id: plan.id,
          project_uid: uidOf(plan.id),
          deploy_key: plan.env["DEPLOY_KEY"] ?? (yield* secret),
          generation: 1,
          idle_timeout_seconds: 0
        }
        yield* claims
          .configure(process.port, server.secret, request)
          .pipe(Effect.repeat({ schedule: Schedule.spaced(pollMs), until: (ready) => ready }))
        const { hasHealthPath } = yield* Readiness.awaitReady(host, process, plan.healthPath, config.spawnTimeoutMs)
        const said = hasHealthPath ? yield* claims.projectOf(process.port, plan.healthPath) : null
        if (said !== null && said !== plan.id) {
          return yield* new ClaimFailed({ detail: "it says that it is another project's" })
        }
        return { process, warm: true, hasHealthPath, keepAwakeToken } satisfies Started
      })

      const bounded = (server: WarmServer, plan: ProjectPlan) =>
        Effect.raceFirst(
          Effect.flatMap(server.process.exited, (exit) =>
            Effect.fail(new ClaimFailed({ detail: Readiness.exitText(exit) }))
          ),
          claim(server, plan)
        ).pipe(
          Effect.timeoutOrElse({
            duration: config.spawnTimeoutMs,
            orElse: () => Effect.fail(new ClaimFailed({ detail: `not ready within ${config.spawnTimeoutMs} ms` }))
          })
        )

      const claimable = (plan: ProjectPlan) =>
        (plan.env["DATABASE_PATH"] ?? `${plan.folder}/${databaseName}`) === `${plan.folder}/${databaseName}`
          ? Effect.map(folders.holdsState(plan.folder), (holds) => !holds)
          : Effect.succeed(false)

      const take = Effect.fn("WarmServers.take")(function* (plan: ProjectPlan) {
        if (waiting.size === 0 || !(yield* claimable(plan))) return undefined
        return yield* Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const [server] = waiting
            if (server === undefined) return undefined
            waiting.delete(server)
            yield* Effect.addFinalizer((exit) => Scope.close(server.scope, exit))
            yield* server.process.rename(plan.id)
            yield* Deferred.succeed(server.taken, undefined)
            return yield* restore(bounded(server, plan)).pipe(
              Effect.onError((cause) =>
                Effect.andThen(
                  server.process.stop(Math.min(config.stopGraceMs, vainStopMs)),
                  Scope.close(server.scope, Exit.failCause(cause))
                )
              ),
              Effect.catch((error) =>
                Effect.as(
                  Effect.logWarning(`a warm server can't become ${plan.id}'s, which is started anew: ${error.message}`),
                  undefined
                )
              )
            )
          })
        )
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

const databaseName = "project.db"
