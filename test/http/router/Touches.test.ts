import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Router } from "../../../src/http/router/Router.ts"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { active, layerRouter, makeWorld, request } from "../support.ts"
import { demo, run, get } from "./Asking.ts"

describe("activity", () => {
  it.effect("is written in batches, each project once, within ten seconds", () =>
    run((world, router) =>
      Effect.gen(function* () {
        for (const name of ["demo", "other"]) world.rows.set(name, active(name))
        for (let i = 0; i < 20; i++) {
          yield* get(router)
          yield* router.route(request("/projects/other/"))
        }
        assert.deepStrictEqual(world.touched, [])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(world.touched, [["demo", "other"]])
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(world.touched.length, 1)
      })
    )
  )

  it.effect("is kept while the database is down, and noted for the fast path too", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        yield* get(router)
        yield* router.flushTouches
        world.touched.length = 0
        world.beforeTouch = Effect.fail(new StoreError({ operation: "touch", reason: "Unavailable", detail: "down" }))
        assert.isDefined(router.tryRoute(request("/x", { Host: demo })))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(world.touched, [])
        world.beforeTouch = Effect.void
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(world.touched, [["demo"]])
      })
    )
  )

  it.effect("is written at shutdown", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      world.rows.set("demo", active("demo"))
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerRouter(world), scope)
      yield* Effect.provide(
        Effect.flatMap(Router, (router) => router.route(request("/x", { Host: demo }))),
        context
      )
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(world.touched, [["demo"]])
    })
  )
})
