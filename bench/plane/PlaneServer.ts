/**
 * One instance of the plane as a process: the live router and stores on the database of DATABASE_URL, with Fly, the machines
 * and the object store as `Outside` has them. No loop runs by itself; any request to the
 * second port runs one pass of the dormancy sweep and answers when it has ended; it ends with the request. Tells its ports in a line of JSON.
 */
import { createServer } from "node:http"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { PlaneHttp } from "../../src/http/PlaneHttp.ts"
import { Router } from "../../src/http/router/Router.ts"
import { Server } from "../../src/http/Server.ts"
import { layerLoops } from "../../src/programs/background/Loops.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { sweep } from "../../src/programs/dormancy/Sweep.ts"
import { Identity } from "../../src/programs/Identity.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { layerPostgresConfig } from "../../src/services/db/Postgres.ts"
import { layerKeys } from "../../src/services/KeysLive.ts"
import { layerBenchConfig } from "./Config.ts"
import { layerOutside } from "./Outside.ts"

const plane = Server.layer().pipe(
  Layer.provide(PlaneHttp.layer),
  Layer.provide(Router.layer),
  Layer.provide(layerLoops([])),
  Layer.provide(layerLifecycle),
  Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer)),
  Layer.provideMerge(layerOutside),
  Layer.provideMerge(layerKeys),
  Layer.provideMerge(layerPostgresConfig),
  Layer.provideMerge(SecureRandom.layerWebCrypto),
  Layer.provideMerge(layerBenchConfig)
)

Effect.gen(function* () {
  const { port } = yield* Server
  const run = Effect.runForkWith(yield* Effect.context<Effect.Services<typeof sweep>>())
  const control = yield* Effect.callback<number>((resume) => {
    const server = createServer((_request, response) => {
      const fiber = run(
        Effect.map(Effect.timed(sweep), ([took, pass]) => {
          response.end(JSON.stringify({ tookMs: Duration.toMillis(took), ...pass }))
        })
      )
      response.once("close", () => fiber.interruptUnsafe())
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
  yield* Console.log(JSON.stringify({ port, control }))
  return yield* Effect.never
}).pipe(Effect.provide(plane), NodeRuntime.runMain)
