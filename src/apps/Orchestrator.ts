/** The single-host orchestrator as a list of layers. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { Front } from "../orchestrator/Front.ts"
import { KeepAwakeUrl } from "../orchestrator/KeepAwakeUrl.ts"
import { OrchestratorConfig, type OrchestratorConfigValue } from "../orchestrator/OrchestratorConfig.ts"
import { OrchestratorFolder } from "../orchestrator/OrchestratorFolder.ts"
import { OwnEndpoints } from "../orchestrator/OwnEndpoints.ts"
import { ProjectFolders } from "../orchestrator/ProjectFolders.ts"
import { ServerHost } from "../orchestrator/ServerHost.ts"
import { Starter } from "../orchestrator/Starter.ts"
import { Supervisor } from "../orchestrator/Supervisor.ts"
import { WarmCount } from "../orchestrator/WarmCount.ts"
import { WarmServers } from "../orchestrator/WarmServers.ts"

/** What it tells when it listens. */
export class Ready extends Context.Service<
  Ready,
  {
    readonly ready: true
    readonly url: string
    readonly pid: number
    readonly data_dir: string
    readonly admin_token_file: string
  }
>()("valet/OrchestratorReady") {}

/**
 * Its end comes in this order: nothing new is taken; the servers are told to end, which close their own sockets; then
 * what is left of the listener.
 */
const layerReady = Layer.effect(
  Ready,
  Effect.gen(function* () {
    const front = yield* Front
    const supervisor = yield* Supervisor
    const folder = yield* OrchestratorFolder
    yield* Effect.addFinalizer(() => Effect.andThen(front.refuse, supervisor.drain))
    yield* (yield* KeepAwakeUrl).set(`${front.url}/internal/keep-awake`)
    return {
      ready: true as const,
      url: front.url,
      pid: process.pid,
      data_dir: folder.root,
      admin_token_file: folder.own("admin-token")
    }
  })
)

const layerWarmCount = Layer.effect(
  WarmCount,
  Effect.map(WarmServers, ({ ready }) => ready)
)

export const layer = (config: OrchestratorConfigValue) =>
  layerReady.pipe(
    Layer.provideMerge(Front.layer),
    Layer.provide(OwnEndpoints.layer),
    Layer.provide(layerWarmCount),
    Layer.provideMerge(Supervisor.layer),
    Layer.provideMerge(Starter.layer),
    Layer.provideMerge(WarmServers.layer),
    Layer.provideMerge(ServerHost.layer),
    Layer.provideMerge(ProjectFolders.layer),
    Layer.provideMerge(OrchestratorFolder.layer),
    Layer.provideMerge(KeepAwakeUrl.layer),
    Layer.provide(Layer.succeed(OrchestratorConfig, config)),
    Layer.provide([NodeServices.layer, SecureRandom.layerWebCrypto])
  )
