/**
 * The control plane inside a server of yours, on live systems: its configuration from the environment, its routes under
 * your listener, and without the loops that you run elsewhere. Run it: `PORT=8000 node examples/embed-live.ts`
 */
import { createServer } from "node:http"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { ControlPlane, Identity, layerEnvironment, layerLifecycle, layerLoops, PlaneHttp, Router, Signals } from "valet"

const routes = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  if (request.url === "/mine") return HttpServerResponse.text("this one is mine")
  return yield* (yield* PlaneHttp).httpEffect
})

const listener = Layer.unwrap(
  Effect.map(Config.Port("PORT"), (port) => NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" }))
)

const main = HttpServer.serve(routes).pipe(
  Layer.provide(listener),
  Layer.provide(PlaneHttp.layer),
  Layer.provide(Router.layer),
  Layer.provide(layerLoops(["pool", "discard", "recovery"])),
  Layer.provide(layerLifecycle),
  Layer.provide([Identity.layer, Signals.layer]),
  Layer.provide(ControlPlane.layerServices(true)),
  Layer.provide(layerEnvironment)
)

NodeRuntime.runMain(Layer.launch(main))
