/** The live client against the local Fly's HTTP API, in one process over loopback. */
import { createServer } from "node:http"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { PlaneConfig } from "../../../src/config/PlaneConfig.ts"
import * as FlyWorld from "../../../src/local/fly/FlyWorld.ts"
import { publicApi } from "../../../src/local/fly/http/Routes.ts"
import { MachineHost } from "../../../src/local/fly/MachineHost.ts"
import { createApp } from "../../../src/local/fly/model/Apps.ts"
import { FlyBudget } from "../../../src/services/fly/FlyBudget.ts"
import * as FlyHttp from "../../../src/services/fly/FlyHttp.ts"
import { testConfig } from "../../../src/testing/TestPlane.ts"

const { app } = testConfig.fly
const token = Redacted.make("local-fly-token")

export const world = FlyWorld.layer({ seed: 1 })

const budgetless = Layer.succeed(FlyBudget, FlyBudget.of({ book: () => Effect.succeed(0) }))

const clientOf = (apiUrl: string) =>
  FlyHttp.layerNoDeps.pipe(
    Layer.provide([
      Layer.succeed(PlaneConfig, { ...testConfig, fly: { ...testConfig.fly, apiUrl, token } }),
      NodeHttpClient.layerUndici,
      budgetless
    ])
  )

export const layer = Layer.unwrap(
  Effect.gen(function* () {
    const server = yield* NodeHttpServer.make(createServer, {
      port: 0,
      host: "127.0.0.1",
      gracefulShutdownTimeout: "100 millis"
    })
    yield* server.serve(yield* publicApi(token))
    yield* (yield* FlyWorld.FlyWorld).apply(createApp({ name: app, org: "personal" }))
    const { address } = server
    return clientOf(address._tag === "UnixPathAddress" ? "" : `http://127.0.0.1:${address.port}`)
  })
).pipe(Layer.provide(MachineHost.layerNone), Layer.provideMerge(world))
