/** One server without a project: how it is launched, and how it becomes a project's. */
import { createHash } from "node:crypto"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { ConfigureRequest } from "../../contract/MachineProtocol.ts"
import { token } from "../../programs/Ids.ts"
import { KeepAwakeUrl } from "../KeepAwakeUrl.ts"
import { OrchestratorConfig } from "../OrchestratorConfig.ts"
import type { ProjectPlan } from "../ProjectFolders.ts"
import * as Readiness from "../Readiness.ts"
import { ServerHost, type ServerProcess } from "../ServerHost.ts"
import { ClaimFailed, WarmClaim } from "./WarmClaim.ts"
import { type WarmFolder, WarmFolders } from "./WarmFolder.ts"

export interface WarmServer {
  readonly process: ServerProcess
  readonly folder: WarmFolder
  readonly secret: Redacted.Redacted
  /** With which it says that it is busy. */
  readonly keepAwakeToken: string
  /** Its process and its folder. */
  readonly scope: Scope.Closeable
  readonly taken: Deferred.Deferred<void>
}

/** It never came, or is good for nothing any more. */
export class Lost extends Schema.TaggedError<Lost>()("Lost", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** The orchestrator listens soon after it began to keep servers warm, or not at all. */
const urlMs = 30_000
const pollMs = 50
/** 160 bits. */
const secret = token(32)

const databaseName = "project.db"

/** A project whose database lies elsewhere is not served by what a warm server was given at its start. */
export const opensDatabaseOf = (plan: ProjectPlan): boolean => {
  const usual = `${plan.folder}/${databaseName}`
  return (plan.env["DATABASE_PATH"] ?? usual) === usual
}

/** Listens when this returns; `place` is of those that are kept, from 1. */
export const launch = Effect.fnUntraced(
  function* (place: number, scope: Scope.Closeable) {
    const { command, healthPath, spawnTimeoutMs } = yield* OrchestratorConfig
    const host = yield* ServerHost
    const folder = yield* Effect.flatMap(WarmFolders, ({ make }) =>
      Effect.flatMap(token(8), (random) => make(`${place}-${random}`))
    )
    const own = yield* secret
    const keepAwakeToken = yield* secret
    const url = yield* Effect.flatMap(KeepAwakeUrl, (it) => it.url).pipe(
      Effect.timeoutOrElse({
        duration: urlMs,
        orElse: () => Effect.fail(new Lost({ detail: "where to tell that it is busy is not known yet" }))
      })
    )
    const process = yield* host.launch({
      // No project's: their ids have no underscore.
      name: `_warm-${place}`,
      command,
      cwd: (yield* Path.Path).resolve("."),
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
    yield* Readiness.awaitReady(host, process, healthPath, spawnTimeoutMs)
    const taken = yield* Deferred.make<void>()
    return { process, folder, secret: Redacted.make(own), keepAwakeToken, scope, taken } satisfies WarmServer
  },
  (effect, _place, scope) =>
    Effect.mapError(Scope.provide(effect, scope), ({ message }) => new Lost({ detail: message }))
)

/** The same for each claim of a project, as if its folder were its machine's volume. */
const uidOf = (id: string): string => createHash("sha256").update(`valet-orchestrator ${id}`).digest("hex").slice(0, 32)

const configured = Effect.fnUntraced(function* ({ process, folder, secret: own }: WarmServer, plan: ProjectPlan) {
  const claims = yield* WarmClaim
  const host = yield* ServerHost
  const { spawnTimeoutMs } = yield* OrchestratorConfig
  yield* folder.assign(plan.folder)
  const request: ConfigureRequest = {
    project_id: plan.id,
    project_uid: uidOf(plan.id),
    deploy_key: plan.env["DEPLOY_KEY"] ?? (yield* secret),
    generation: 1,
    idle_timeout_seconds: 0
  }
  yield* claims
    .configure(process.port, own, request)
    .pipe(Effect.repeat({ schedule: Schedule.spaced(pollMs), until: (ready) => ready }))
  const asked = claims.projectOf(process.port, plan.healthPath)
  // Who is healthy and names the project is ready: most are spared the question that only asks for that.
  if ((yield* Effect.orElseSucceed(asked, () => null)) === plan.id) return { hasHealthPath: true }
  const ready = yield* Readiness.awaitReady(host, process, plan.healthPath, spawnTimeoutMs)
  const said = ready.hasHealthPath ? yield* asked : null
  if (said !== null && said !== plan.id) {
    return yield* new ClaimFailed({ detail: "it says that it is another project's" })
  }
  return ready
})

/** It is the project's, and ready, when this returns. Where it fails it may have opened the project's database. */
export const claim = Effect.fnUntraced(function* (server: WarmServer, plan: ProjectPlan, withinMs: number) {
  const exited = Effect.flatMap(server.process.exited, (exit) =>
    Effect.fail(new ClaimFailed({ detail: Readiness.exitText(exit) }))
  )
  return yield* Effect.raceFirst(exited, configured(server, plan)).pipe(
    Effect.timeoutOrElse({
      duration: withinMs,
      orElse: () => Effect.fail(new ClaimFailed({ detail: `not ready within ${withinMs} ms` }))
    })
  )
})
