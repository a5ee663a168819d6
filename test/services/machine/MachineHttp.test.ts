import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { layerMachineHttp, layerMachineHttpClient } from "../../../src/services/machine/MachineHttp.ts"
import { FakeMachines, layerFakeMachines } from "../../../src/testing/machine/FakeMachines.ts"
import * as MemoryR2 from "../../../src/testing/MemoryR2.ts"
import { machineContract } from "./contract.ts"
import { configured, layerFakeSubject, layerTestKeys } from "./fakes.ts"

/** Machines of the fakes at `/<machine id>/…` of one real server. */
const routes = HttpRouter.add("*", "/*", (request) =>
  Effect.gen(function* () {
    const fakes = yield* FakeMachines
    const [, machineId = "", ...path] = request.url.split("/")
    const bearer = request.headers.authorization?.replace(/^Bearer /, "") ?? null
    const body = request.method === "GET" ? null : yield* request.json
    const answer = yield* fakes.handle(machineId, `/${path.join("/")}`, bearer, body)
    return answer === null
      ? HttpServerResponse.empty({ status: 502 })
      : HttpServerResponse.jsonUnsafe(answer.body, { status: answer.status })
  })
)

const server = HttpRouter.serve(routes, { disableListenLog: true, disableLogger: true }).pipe(
  Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
)

const client = Layer.unwrap(
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    const port = address._tag === "InetAddressV4" ? address.port : 0
    const config = configured({ VALET_MACHINE_URL: `http://127.0.0.1:${port}/{machine_id}` })
    return layerMachineHttp.pipe(Layer.provide([config, layerMachineHttpClient]))
  })
)

const keys = layerTestKeys(configured({}))
machineContract(
  "machines behind HTTP",
  Layer.mergeAll(layerFakeSubject, client.pipe(Layer.provide(server))).pipe(
    Layer.provideMerge(layerFakeMachines),
    Layer.provideMerge([MemoryR2.layer, keys])
  )
)
