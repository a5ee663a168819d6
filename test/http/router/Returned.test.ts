/** Requests that Fly or a project server gave back. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { active, dormant, machine, request, type Setup, type World, woken } from "../support.ts"
import { demo, replay, run, get } from "./Asking.ts"

describe("requests that come back", () => {
  const heals =
    (hints: Array<string>) =>
    (world: World): Setup => ({
      lifecycle: {
        heal: (projectId, hint) =>
          Effect.sync(() => {
            hints.push(hint)
            const view = { ...active(projectId), machine: machine(projectId, "m-new") }
            world.rows.set(projectId, view)
            return woken(view)
          })
      }
    })

  it.effect("as stale: the cache is passed by, the project healed, the request replayed", () => {
    const hints: Array<string> = []
    return run((world, router) => {
      world.rows.set("demo", active("demo"))
      return Effect.gen(function* () {
        yield* get(router)
        const answer = yield* get(router, { "fly-replay-src": "instance=m-demo;region=sjc;t=1;state=stale" })
        assert.match(answer.headers["fly-replay"] ?? "", /^instance=m-new;/)
        assert.deepStrictEqual(hints, ["stale"])
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
      })
    }, heals(hints))
  })

  it.effect("as stale with commas, as one of Fly's documents writes them, and for an upgrade", () => {
    const hints: Array<string> = []
    return run((world, router) => {
      world.rows.set("demo", active("demo"))
      return Effect.gen(function* () {
        const answer = yield* get(router, {
          "Fly-Replay-Src": "app=valet-projects,state=stale",
          Connection: "upgrade",
          Upgrade: "websocket"
        })
        assert.match(answer.headers["fly-replay"] ?? "", /^instance=m-new;/)
        assert.strictEqual(answer.headers["connection"], "close")
        assert.strictEqual(hints.length, 1)
      })
    }, heals(hints))
  })

  it.effect("are answered from the row, whatever the cache says", () =>
    run((world, router) =>
      Effect.gen(function* () {
        for (const header of [{ "fly-replay-failed": "reason=timeout" }, { "fly-replay-src": "state=stale" }]) {
          world.rows.set("demo", active("demo"))
          yield* TestClock.adjust("1 minute")
          yield* get(router)
          world.rows.set("demo", dormant("demo"))
          assert.strictEqual((yield* get(router, {}, "HEAD")).status, 307, "still cached")
          assert.strictEqual((yield* get(router, header, "HEAD")).status, 204)
        }
      })
    )
  )

  it.effect("with another state are nothing special", () =>
    run((world, router) => {
      world.rows.set("demo", active("demo"))
      return Effect.map(get(router, { "fly-replay-src": "instance=a;state=staleish" }), (answer) =>
        assert.strictEqual(answer.headers["fly-replay"], replay)
      )
    })
  )

  it.effect("as undeliverable: answered here, never replayed again", () => {
    const hints: Array<string> = []
    return run((world, router) => {
      world.rows.set("demo", active("demo"))
      return Effect.gen(function* () {
        yield* get(router)
        const failed = { "fly-replay-failed": "instance=m-demo;reason=timeout;elapsed_ms=10000" }
        const program = yield* get(router, failed)
        assert.strictEqual(program.status, 503)
        assert.isUndefined(program.headers["fly-replay"])
        assert.strictEqual(program.headers["retry-after"], "1")
        const browser = yield* get(router, { ...failed, Accept: "text/html" })
        assert.match(browser.body, /http-equiv="refresh"/)
        assert.isUndefined(browser.headers["fly-replay"])
        assert.deepStrictEqual(hints, ["replay_failed", "replay_failed"])
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
      })
    }, heals(hints))
  })

  it.effect("never wake a dormant project for a request that only looks", () =>
    run((world, router) => {
      world.rows.set("demo", dormant("demo"))
      return Effect.gen(function* () {
        for (const header of [{ "fly-replay-failed": "reason=timeout" }, { "fly-replay-src": "state=stale" }]) {
          const answer = yield* get(router, header, "HEAD")
          assert.strictEqual(answer.status, 204)
        }
      })
    })
  )
})
