/**
 * One plane over PostgreSQL and a Fly of its own, reached over its HTTP API, with Fly's request budget on both sides and
 * with the time that a real machine takes to start; project servers answer in memory.
 */
import { createServer } from "node:http"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { PlaneConfig } from "../../src/config/PlaneConfig.ts"
import * as FlyWorld from "../../src/local/fly/FlyWorld.ts"
import { publicApi } from "../../src/local/fly/http/Routes.ts"
import { MachineHost } from "../../src/local/fly/MachineHost.ts"
import { createApp } from "../../src/local/fly/model/Apps.ts"
import { realisticDelays } from "../../src/local/fly/model/FlyState.ts"
import { layerLoops } from "../../src/programs/background/Loops.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { Identity } from "../../src/programs/Identity.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { layerPostgresConfig } from "../../src/services/db/Postgres.ts"
import * as FlyHttp from "../../src/services/fly/FlyHttp.ts"
import { layerKeys } from "../../src/services/KeysLive.ts"
import { layerFakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import * as MemoryR2 from "../../src/testing/MemoryR2.ts"
import { layerHosts, layerSeededRandom } from "../../src/testing/TestPlane.ts"
import { benchConfig } from "../plane/Config.ts"

const token = Redacted.make("bench-fly-token")

const layerConfig = (url: string, poolSize: number) =>
  Layer.effect(
    PlaneConfig,
    Effect.gen(function* () {
      const world = yield* FlyWorld.FlyWorld
      const server = yield* NodeHttpServer.make(createServer, { port: 0, host: "127.0.0.1" })
      yield* server.serve(yield* publicApi(token))
      const config = benchConfig(Redacted.make(url))
      yield* world.apply(createApp({ name: config.fly.app, org: "personal" }))
      const port = server.address._tag === "UnixPathAddress" ? 0 : server.address.port
      return {
        ...config,
        fly: { ...config.fly, token, apiUrl: `http://127.0.0.1:${port}` },
        pool: { size: poolSize, intervalMs: 30_000 }
      }
    })
  ).pipe(Layer.provide(MachineHost.layerNone))

export const layerBurst = (url: string, poolSize: number) =>
  layerLoops(["pool"]).pipe(
    Layer.provideMerge(layerLifecycle),
    Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
    Layer.provideMerge(layerHosts),
    Layer.provideMerge(
      Layer.mergeAll(layerFakeMachines, FlyHttp.layer.pipe(Layer.provide(NodeHttpClient.layerUndici)))
    ),
    Layer.provideMerge(Layer.mergeAll(layerKeys, layerPostgresConfig, MemoryR2.layer)),
    Layer.provideMerge(layerSeededRandom),
    Layer.provideMerge(layerConfig(url, poolSize)),
    Layer.provideMerge(FlyWorld.layer({ seed: 1, params: { rateLimits: true, delays: realisticDelays } }))
  )
