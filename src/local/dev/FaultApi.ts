/**
 * Faults of what runs inside `valet dev`, over HTTP on loopback for whoever knows the token: of the object storage and
 * of the edge. The local Fly takes its own beside its API; processes (control planes, PostgreSQL, machines) are simply
 * killed, stopped and continued.
 */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Mac from "effect/crypto/Mac"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Edge } from "../edge/Edge.ts"
import { LocalS3 } from "../s3/LocalS3.ts"
import { Faults } from "../s3/S3Fault.ts"

const Drop = Schema.Struct({ share: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })) })

const bytes = new TextEncoder()
const problem = (status: number, detail: string) => HttpServerResponse.jsonUnsafe({ error: detail }, { status })

/** `PUT /s3` replaces the storage's faults; `POST /edge/drop` cuts a share of the edge's connections. */
const answer = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.gen(function* () {
    switch (`${request.method} ${request.url}`) {
      case "PUT /s3": {
        const faults = yield* HttpServerRequest.schemaBodyJson(Faults, { onExcessProperty: "error" })
        yield* (yield* LocalS3).setFaults(faults)
        return HttpServerResponse.empty({ status: 204 })
      }
      case "POST /edge/drop": {
        const { share } = yield* HttpServerRequest.schemaBodyJson(Drop)
        return HttpServerResponse.jsonUnsafe({ dropped: yield* (yield* Edge).drop(share) })
      }
      default:
        return problem(404, "there is no such fault")
    }
  }).pipe(Effect.catchTag(["SchemaError", "HttpServerError"], (error) => Effect.succeed(problem(400, error.message))))

const make = Effect.fnUntraced(function* (token: Redacted.Redacted) {
  const server = yield* NodeHttpServer.make(() => createServer(), {
    host: "127.0.0.1",
    port: 0,
    gracefulShutdownTimeout: "1 second"
  })
  const expected = bytes.encode(`Bearer ${Redacted.value(token)}`)
  yield* server.serve(
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      Mac.timingSafeEqual(expected, bytes.encode(request.headers["authorization"] ?? ""))
        ? answer(request)
        : Effect.succeed(problem(401, "unauthorized"))
    )
  )
  const port = "port" in server.address ? server.address.port : 0
  return FaultApi.of({ url: `http://127.0.0.1:${port}` })
})

export class FaultApi extends Context.Service<FaultApi, { readonly url: string }>()("valet/local/FaultApi") {
  static readonly layer = (token: Redacted.Redacted) => Layer.effect(FaultApi, make(token))
}
