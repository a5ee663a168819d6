/** The reference project server as a list of layers. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Connections } from "../project-server/Connections.ts"
import { Control } from "../project-server/Control.ts"
import { DocumentStore } from "../project-server/DocumentStore.ts"
import { Gate } from "../project-server/Gate.ts"
import { HttpServer } from "../project-server/HttpServer.ts"
import * as IdleSuspend from "../project-server/IdleSuspend.ts"
import {
  fromEnvironment,
  ProjectServerConfig,
  type ProjectServerConfigValue
} from "../project-server/ProjectServerConfig.ts"
import { rehearse } from "../project-server/Rehearsal.ts"
import { Serving } from "../project-server/Serving.ts"
import { StateFile } from "../project-server/StateFile.ts"
import { TransferRoutes } from "../project-server/TransferRoutes.ts"

/** Listens while it exists. Its end closes sockets with 1001, finishes what is in flight and checkpoints. */
export const layer = (config: ProjectServerConfigValue) =>
  Layer.mergeAll(HttpServer.layer, IdleSuspend.layer).pipe(
    Layer.provide(TransferRoutes.layer),
    Layer.provide(IdleSuspend.MachineSuspend.layer),
    Layer.provideMerge(Control.layer),
    Layer.provideMerge(Serving.layer),
    Layer.provideMerge(Connections.layer),
    Layer.provideMerge(DocumentStore.layer),
    Layer.provideMerge(Layer.mergeAll(Gate.layer, StateFile.layer)),
    Layer.provide(Layer.succeed(ProjectServerConfig, config))
  )

/** Runs until it is interrupted; fails when it can't start, or when its database can't be trusted any more. */
export const run = (config: ProjectServerConfigValue) =>
  Effect.gen(function* () {
    const { port } = yield* HttpServer
    const store = yield* DocumentStore
    const serving = yield* Serving
    yield* Effect.logInfo(`project server listening on port ${port}`)
    if (config.internalSecret !== null && serving.projectId() === null) {
      yield* rehearse(port, config.internalSecret).pipe(
        Effect.matchCauseEffect({
          onFailure: (cause) => Effect.logDebug("no rehearsal", cause),
          onSuccess: (status) => Effect.logDebug("rehearsed", { status })
        }),
        Effect.forkScoped
      )
    }
    return yield* store.broken
  }).pipe(Effect.scoped, Effect.provide(layer(config)))

export const runFromEnvironment = Effect.flatMap(fromEnvironment, run)
