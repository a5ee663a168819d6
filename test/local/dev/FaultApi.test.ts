/** Faults over HTTP reach the storage and the edge, and only from whoever knows the token. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { FaultApi } from "../../../src/local/dev/FaultApi.ts"
import { Edge } from "../../../src/local/edge/Edge.ts"
import { LocalS3 } from "../../../src/local/s3/LocalS3.ts"

const told: Array<unknown> = []

const layer = FaultApi.layer(Redacted.make("secret")).pipe(
  Layer.provide([
    Layer.mock(Edge)({
      url: "",
      port: 0,
      drop: (share) =>
        Effect.sync(() => {
          told.push(share)
          return 3
        })
    }),
    Layer.mock(LocalS3)({
      endpoint: "",
      bucket: "",
      accessKeyId: "",
      secretAccessKey: Redacted.make(""),
      setFaults: (faults) => Effect.sync(() => void told.push(faults))
    })
  ]),
  Layer.merge(FetchHttpClient.layer)
)

const ask = (method: "PUT" | "POST", path: string, body: unknown, token = "secret") =>
  Effect.gen(function* () {
    const { url } = yield* FaultApi
    const request = HttpClientRequest.make(method)(`${url}${path}`).pipe(
      HttpClientRequest.bearerToken(token),
      HttpClientRequest.bodyJsonUnsafe(body)
    )
    const response = yield* HttpClient.execute(request)
    return { status: response.status, text: yield* response.text }
  })

describe("faults over HTTP", () => {
  it.live("sets the storage's, drops the edge's connections, and refuses what it does not know", () =>
    Effect.gen(function* () {
      const faults = { fail: 0.5, late: { share: 1, ms: 2_000 } }
      assert.strictEqual((yield* ask("PUT", "/s3", faults)).status, 204)
      assert.deepStrictEqual(yield* ask("POST", "/edge/drop", { share: 0.25 }), { status: 200, text: '{"dropped":3}' })
      assert.deepStrictEqual(told, [faults, 0.25])
      assert.strictEqual((yield* ask("PUT", "/s3", { fial: 1 })).status, 400)
      assert.strictEqual((yield* ask("PUT", "/s3", { fail: 2 })).status, 400)
      assert.strictEqual((yield* ask("POST", "/edge/drop", { share: -1 })).status, 400)
      assert.strictEqual((yield* ask("POST", "/s3", {})).status, 404)
      assert.strictEqual((yield* ask("PUT", "/s3", {}, "guess")).status, 401)
      assert.strictEqual(told.length, 2)
    }).pipe(Effect.provide(layer))
  )
})
