import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as TestClock from "effect/testing/TestClock"
import { MaxWaiting } from "../../../src/http/router/Breaker.ts"
import {
  Backoff,
  Capacity,
  DataUnavailable,
  Deadline,
  NotFound,
  Unavailable,
  type WakeError,
  type Lifecycle
} from "../../../src/programs/lifecycle/Lifecycle.ts"
import { active, dormant, id, request, type Setup, type World, woken } from "../support.ts"
import { replay, run, get, code, wakeError } from "./Asking.ts"

describe("waking", () => {
  const wakes = (world: World): Setup => ({
    lifecycle: {
      wake: (projectId) =>
        Effect.sync(() => {
          const view = active(projectId)
          world.rows.set(projectId, view)
          return woken(view)
        })
    }
  })

  for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"]) {
    it.effect(`begins with a ${method}, which is then replayed`, () =>
      run((world, router) => {
        world.rows.set("demo", dormant("demo"))
        return Effect.gen(function* () {
          const answer = yield* get(router, {}, method)
          assert.strictEqual(answer.headers["fly-replay"], replay)
          assert.strictEqual(router.stats().wakes, 1)
          assert.strictEqual((yield* get(router)).headers["fly-replay"], replay)
          assert.strictEqual(router.stats().wakes, 1)
        })
      }, wakes)
    )
  }

  it.effect("begins with an upgrade", () =>
    run((world, router) => {
      world.rows.set("demo", dormant("demo"))
      return Effect.map(get(router, { Connection: "Upgrade", Upgrade: "websocket" }), (answer) => {
        assert.strictEqual(answer.headers["fly-replay"], replay)
        assert.strictEqual(answer.headers["connection"], "close")
      })
    }, wakes)
  )

  it.effect("also serves a project in the middle of an archive", () =>
    run((world, router) => {
      world.rows.set("demo", active("demo", { operation: "archiving" }))
      return Effect.map(get(router), (answer) => assert.strictEqual(answer.status, 307))
    }, wakes)
  )

  it.effect("does not begin for HEAD, icons, robots and agents that only look", () =>
    run(
      (world, router) =>
        Effect.gen(function* () {
          for (const view of [
            dormant("demo"),
            dormant("demo", { operation: "waking" }),
            active("demo", { operation: "archiving" })
          ]) {
            world.rows.set("demo", view)
            yield* PubSub.publish(world.changes, { _tag: "Changed", projectId: id("demo") })
            yield* TestClock.adjust("1 millis")
            const head = yield* get(router, {}, "HEAD")
            assert.strictEqual(head.status, 204)
            assert.strictEqual(head.headers["x-valet-state"], view.project.state)
            assert.strictEqual((yield* get(router, {}, "GET", "/favicon.ico?v=2")).status, 404)
            assert.strictEqual((yield* get(router, {}, "GET", "/robots.txt")).status, 404)
            const byPath = yield* router.route(request("/projects/demo/robots.txt"))
            assert.strictEqual(byPath?.status, 404)
            const probe = yield* get(router, { "User-Agent": "UptimeRobot/2.0" })
            assert.strictEqual(probe.status, 503)
            assert.strictEqual(probe.headers["x-valet-state"], view.project.state)
            assert.isTrue(Number(probe.headers["retry-after"]) > 0)
          }
        }),
      { config: (config) => ({ ...config, router: { ...config.router, noWake: /uptimerobot/i } }) }
    )
  )

  it.effect("lets the same agents through to a project that is up", () =>
    run(
      (world, router) => {
        world.rows.set("demo", active("demo"))
        return Effect.gen(function* () {
          assert.strictEqual((yield* get(router, { "User-Agent": "UptimeRobot/2.0" })).status, 307)
          assert.strictEqual((yield* get(router, {}, "HEAD")).status, 307)
          assert.strictEqual((yield* get(router, {}, "GET", "/favicon.ico")).status, 307)
        })
      },
      { config: (config) => ({ ...config, router: { ...config.router, noWake: /uptimerobot/i } }) }
    )
  )

  /** `begun` ends when the wake has: from then on its deadline is the clock's matter. */
  const noticed = (wake: Lifecycle["Service"]["wake"]) => {
    const waking = Deferred.makeUnsafe<void>()
    return {
      begun: Deferred.await(waking),
      lifecycle: {
        wake: (...asked: Parameters<typeof wake>) => Effect.andThen(Deferred.succeed(waking, undefined), wake(...asked))
      }
    }
  }
  const late = () =>
    noticed((_id, { deadlineMs }) =>
      Effect.andThen(Effect.sleep(deadlineMs), wakeError(new Deadline({ detail: "late" })))
    )

  it.effect("holds a program until the deadline, then says when to come back", () => {
    const { begun, lifecycle } = late()
    return run(
      (world, router) =>
        Effect.gen(function* () {
          world.rows.set("demo", dormant("demo"))
          const held = yield* Effect.forkChild(get(router, { Accept: "application/json" }))
          yield* begun
          yield* TestClock.adjust("24 seconds")
          assert.isUndefined(held.pollUnsafe())
          yield* TestClock.adjust("1 second")
          const answer = yield* Fiber.join(held)
          assert.strictEqual(answer.status, 503)
          assert.strictEqual(code(answer), "waking")
          assert.strictEqual(answer.headers["retry-after"], "1")
        }),
      { lifecycle }
    )
  })

  it.effect("shows a browser a page that reloads, after a moment", () => {
    const { begun, lifecycle } = late()
    return run(
      (world, router) =>
        Effect.gen(function* () {
          world.rows.set("demo", dormant("demo"))
          const held = yield* Effect.forkChild(get(router, { Accept: "text/html,application/xhtml+xml,*/*;q=0.8" }))
          yield* begun
          yield* TestClock.adjust("1500 millis")
          const answer = yield* Fiber.join(held)
          assert.strictEqual(answer.status, 503)
          assert.match(answer.headers["content-type"] ?? "", /^text\/html/)
          assert.match(answer.body, /<meta http-equiv="refresh" content="1">/)
          assert.strictEqual(answer.headers["retry-after"], "1")
        }),
      { lifecycle }
    )
  })

  it.effect("is given up even where the program forgets its deadline", () => {
    const { begun, lifecycle } = noticed(() => Effect.never)
    return run(
      (world, router) =>
        Effect.gen(function* () {
          world.rows.set("demo", dormant("demo"))
          const held = yield* Effect.forkChild(get(router))
          yield* begun
          yield* TestClock.adjust("26 seconds")
          assert.strictEqual((yield* Fiber.join(held)).status, 503)
        }),
      { lifecycle }
    )
  })

  const failures: ReadonlyArray<readonly [WakeError["reason"], number, string, string | undefined]> = [
    [new Capacity({ retryAfterMs: 4_001, detail: "full" }), 503, "no_capacity", "5"],
    [new Backoff({ retryAfterMs: 29_999, detail: "restore failed" }), 503, "wake_failed", "30"],
    [new Unavailable({ retryAfterMs: 10, detail: "database" }), 503, "unavailable", "1"],
    [new DataUnavailable({ detail: "volume gone" }), 503, "data_unavailable", "300"],
    [new NotFound({ detail: "deleted meanwhile" }), 404, "project_not_found", undefined]
  ]
  for (const [reason, status, expected, retryAfter] of failures) {
    it.effect(`that fails with ${reason._tag} is told apart`, () =>
      run(
        (world, router) =>
          Effect.gen(function* () {
            world.rows.set("demo", dormant("demo"))
            const answer = yield* get(router)
            assert.strictEqual(answer.status, status)
            assert.strictEqual(code(answer), expected)
            assert.strictEqual(answer.headers["retry-after"], retryAfter)
            assert.notInclude(answer.body, "restore failed")
          }),
        { lifecycle: { wake: () => wakeError(reason) } }
      )
    )
  }

  it.effect("holds no more requests than the bound", () =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<void>()
      yield* run(
        (world, router) =>
          Effect.gen(function* () {
            world.rows.set("demo", dormant("demo"))
            const held = yield* Effect.forkChild(Effect.all([get(router), get(router)], { concurrency: "unbounded" }))
            yield* TestClock.adjust("1 millis")
            assert.strictEqual(router.stats().waiting, 2)
            const turned = yield* get(router)
            assert.strictEqual(code(turned), "overloaded")
            assert.strictEqual(turned.headers["retry-after"], "1")
            yield* Deferred.succeed(done, undefined)
            assert.isTrue((yield* Fiber.join(held)).every((answer) => answer.status === 307))
            assert.strictEqual(router.stats().waiting, 0)
            assert.strictEqual((yield* get(router)).status, 307)
          }),
        { lifecycle: { wake: () => Effect.as(Deferred.await(done), woken(active("demo"))) } }
      )
    }).pipe(Effect.provideService(MaxWaiting, 2))
  )
})
