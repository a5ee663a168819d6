import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { PlaneHttp } from "../../src/http/PlaneHttp.ts"
import { layerPlaneHttp, makeWorld } from "./support.ts"

const asked = (path: string) =>
  HttpServerRequest.fromClientRequest(HttpClientRequest.get(path, { headers: { host: "plane.example" } }))

it.effect("a plane that is built within a request answers the next one as itself", () =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const built = yield* Layer.build(layerPlaneHttp(world)).pipe(
      Effect.provideService(HttpServerRequest.HttpServerRequest, asked("/api/projects/first"))
    )
    const { httpEffect } = Context.get(built, PlaneHttp)
    const health = yield* Effect.provideService(httpEffect, HttpServerRequest.HttpServerRequest, asked("/health"))
    assert.strictEqual(health.status, 200)
    const ready = yield* Effect.provideService(httpEffect, HttpServerRequest.HttpServerRequest, asked("/health/ready"))
    assert.strictEqual(ready.status, 200)
  })
)
