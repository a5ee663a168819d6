/** The least that an Effect server starts: one route, and the settings of a listener from the environment. */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

const routes = HttpRouter.add("GET", "/health/ready", Effect.succeed(HttpServerResponse.text("ready")))

const layer = Layer.unwrap(
  Effect.map(Config.Port("CONTROL_PLANE_PORT"), (port) =>
    HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port }))
    )
  )
)

NodeRuntime.runMain(Layer.launch(layer))
