/** A router over a world of its own, and requests to it for one project. */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type { Answer } from "../../../src/http/Answer.ts"
import { Router } from "../../../src/http/router/Router.ts"
import { WakeError } from "../../../src/programs/lifecycle/Lifecycle.ts"
import { layerRouter, makeWorld, projectHost, request, type Setup, type World } from "../support.ts"

export const demo = projectHost("demo")
export const replay = "instance=m-demo;app=valet-projects;timeout=10s;fallback=prefer_self"

/** Runs with a router over a fresh world, on the test's clock. */
export const run = <A, E>(
  body: (world: World, router: Router["Service"]) => Effect.Effect<A, E, Router>,
  setup: Setup | ((world: World) => Setup) = {}
) =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const made = typeof setup === "function" ? setup(world) : setup
    const config: Setup["config"] = (defaults) => {
      const mine = { ...defaults, fly: { ...defaults.fly, app: "valet-projects" } }
      return made.config?.(mine) ?? mine
    }
    return yield* Effect.gen(function* () {
      // The feed's first Resync and the first look at it.
      yield* TestClock.adjust("1 second")
      return yield* body(world, yield* Router)
    }).pipe(Effect.provide(layerRouter(world, { ...made, config })))
  })

export const get = (router: Router["Service"], headers: Record<string, string> = {}, method = "GET", path = "/x") =>
  Effect.map(router.route(request(path, { Host: demo, ...headers }, method)), (answer): Answer => {
    if (answer === null) throw new Error("not the router's")
    return answer
  })
export const code = (answer: Answer): unknown => JSON.parse(answer.body).code
export const wakeError = (reason: WakeError["reason"]) => Effect.fail(new WakeError({ reason }))
