/** The control plane as a list of layers. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { layerEnvironment, layerMargins } from "../config/Environment.ts"
import { PlaneConfig } from "../config/PlaneConfig.ts"
import { PlaneHttp } from "../http/PlaneHttp.ts"
import { Router } from "../http/router/Router.ts"
import { Server, type ServerOptions } from "../http/Server.ts"
import { layerLoops } from "../programs/background/Loops.ts"
import { type LoopName, Signals } from "../programs/background/Signals.ts"
import { Identity } from "../programs/Identity.ts"
import { layerLifecycle } from "../programs/lifecycle/LifecycleLive.ts"
import { Migrations } from "../services/db/Migrations.ts"
import { layerPostgresConfig } from "../services/db/Postgres.ts"
import * as FlyHttp from "../services/fly/FlyHttp.ts"
import { layerKeys } from "../services/KeysLive.ts"
import { layerMachineHttp, layerMachineHttpClient } from "../services/machine/MachineHttp.ts"
import * as R2Live from "../services/r2/R2Live.ts"

export interface ControlPlaneOptions extends Partial<ServerOptions> {
  /** Brings the database up to date before anything else. */
  readonly migrate?: boolean
  /** All by default. */
  readonly loops?: ReadonlyArray<LoopName>
}

export class NotMigrated extends Schema.TaggedError<NotMigrated>()("NotMigrated", {
  pending: Schema.Array(Schema.String)
}) {
  override get message() {
    return `the database lacks ${this.pending.join(", ")}: run \`valet migrate\`, or serve with --migrate`
  }
}

/** A database that starts together with the plane is waited for, half a minute at most. */
const untilReachable = Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 30 }))

const layerMigrated = (migrate: boolean) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const migrations = yield* Migrations
      if (migrate) {
        const done = yield* migrations.migrate
        if (done.length > 0) yield* Effect.logInfo("migrated", { migrations: done })
      }
      const pending = yield* Effect.retry(migrations.pending, {
        schedule: untilReachable,
        while: ({ retryable }) => retryable
      })
      if (pending.length > 0) return yield* new NotMigrated({ pending })
    })
  )

const layerFly = FlyHttp.layer.pipe(Layer.provide(NodeHttpClient.layerUndici))
const layerMachines = layerMachineHttp.pipe(Layer.provide(layerMachineHttpClient))

/** Everything below the programs, on live systems. */
export const layerServices = (migrate: boolean) =>
  Layer.mergeAll(layerFly, layerMachines, R2Live.layer).pipe(
    Layer.provideMerge(Layer.mergeAll(layerKeys, layerMigrated(migrate))),
    Layer.provideMerge(layerPostgresConfig),
    Layer.provideMerge(SecureRandom.layerWebCrypto)
  )

/** The listener drains first; then the loops end, and what they stand on. */
export const layer = ({ migrate = false, loops, ...server }: ControlPlaneOptions = {}) =>
  Server.layer(server).pipe(
    Layer.provide(PlaneHttp.layer),
    Layer.provide(Router.layer),
    Layer.provide(layerLoops(loops)),
    Layer.provide(layerLifecycle),
    Layer.provide([Identity.layer, Signals.layer]),
    Layer.provide(layerServices(migrate))
  )

/** Serves until it is interrupted. */
export const run = (options: ControlPlaneOptions = {}) =>
  Effect.gen(function* () {
    const { r2, fly } = yield* PlaneConfig
    const { host, port } = yield* Server
    yield* Effect.logInfo("control plane is listening", { host, port, app: fly.app, region: fly.region })
    if (r2 === null) yield* Effect.logWarning("R2 is not configured: archival is off, projects keep their machines")
    return yield* Effect.never
  }).pipe(Effect.provide(Layer.provideMerge(layer(options), Layer.mergeAll(layerEnvironment, layerMargins))))
