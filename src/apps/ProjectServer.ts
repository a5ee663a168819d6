/** The reference project server as a list of layers. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
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

/** One that is told its project sooner was started for somebody who waits, and does not rehearse. */
const rehearsalDelay = "100 millis"

/**
 * A second server in this process, on a folder of its own that goes with it, becomes a project's as this one will. So
 * `configure` takes a server that waited 12 ms and not 20, a quarter of a warm claim in `bench/`, `cold-start`.
 */
const rehearsal = (config: ProjectServerConfigValue, secret: Redacted.Redacted) =>
  Effect.gen(function* () {
    const folder = `${config.stateDir}/.rehearsal`
    const remove = Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
    yield* Effect.acquireRelease(remove, () => remove)
    const own = { host: "127.0.0.1", port: 0, dataDir: folder, stateDir: folder, databasePath: `${folder}/project.db` }
    yield* Effect.flatMap(HttpServer, ({ port }) => rehearse(port, secret)).pipe(
      // Not local, they would be this server's own, which are there already.
      Effect.provide(layer({ ...config, ...own, suspend: null }), { local: true })
    )
  }).pipe(Effect.scoped)

/** Runs until it is interrupted; fails when it can't start, or when its database can't be trusted any more. */
export const run = (config: ProjectServerConfigValue) =>
  Effect.gen(function* () {
    const { port } = yield* HttpServer
    const store = yield* DocumentStore
    const serving = yield* Serving
    yield* Effect.logInfo(`project server listening on port ${port}`)
    if (config.internalSecret !== null) {
      yield* rehearsal(config, config.internalSecret).pipe(
        Effect.when(Effect.sync(() => serving.projectId() === null)),
        Effect.delay(rehearsalDelay),
        Effect.matchCauseEffect({
          onFailure: (cause) => Effect.logDebug("the rehearsal failed", cause),
          onSuccess: (held) => Effect.logDebug(Option.isSome(held) ? "rehearsed" : "no rehearsal is needed")
        }),
        Effect.forkScoped
      )
    }
    return yield* store.broken
  }).pipe(Effect.scoped, Effect.provide(layer(config)))

export const runFromEnvironment = Effect.flatMap(fromEnvironment, run)
