import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Answer } from "../../src/http/Answer.ts"
import { MaxWaiting } from "../../src/http/router/Breaker.ts"
import { Router } from "../../src/http/router/Router.ts"
import {
  Backoff,
  Capacity,
  DataUnavailable,
  Deadline,
  NotFound,
  Unavailable,
  WakeError,
  type Lifecycle
} from "../../src/programs/lifecycle/Lifecycle.ts"
import { StoreError } from "../../src/services/db/StoreError.ts"
import {
  active,
  dormant,
  id,
  layerRouter,
  machine,
  makeWorld,
  projectHost,
  request,
  type Setup,
  type World,
  woken
} from "./support.ts"

const demo = projectHost("demo")
const replay = "instance=m-demo;app=valet-projects;timeout=10s;fallback=prefer_self"

/** Runs with a router over a fresh world, on the test's clock. */
const run = <A, E>(
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

const get = (router: Router["Service"], headers: Record<string, string> = {}, method = "GET", path = "/x") =>
  Effect.map(router.route(request(path, { Host: demo, ...headers }, method)), (answer): Answer => {
    if (answer === null) throw new Error("not the router's")
    return answer
  })
const code = (answer: Answer): unknown => JSON.parse(answer.body).code
const wakeError = (reason: WakeError["reason"]) => Effect.fail(new WakeError({ reason }))

describe("an active project", () => {
  it.effect("is replayed to its machine, byte for byte", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        assert.deepStrictEqual(yield* get(router), {
          status: 307,
          headers: { "fly-replay": replay, "content-length": "0" },
          body: ""
        })
      })
    )
  )

  it.effect("is replayed with the instance and app alone where the fallback is off", () =>
    run(
      (world, router) =>
        Effect.gen(function* () {
          world.rows.set("demo", active("demo", { state: "suspended" }))
          const answer = yield* get(router, {}, "POST")
          assert.strictEqual(answer.headers["fly-replay"], "instance=m-demo;app=valet-projects")
        }),
      { config: (config) => ({ ...config, router: { ...config.router, replayFallback: "off" } }) }
    )
  )

  it.effect("is replayed for an upgrade, and the connection closed", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const answer = yield* get(router, { Connection: "keep-alive, Upgrade", Upgrade: "websocket" }, "GET", "/ws")
        assert.strictEqual(answer.headers["fly-replay"], replay)
        assert.strictEqual(answer.headers["connection"], "close")
      })
    )
  )

  it.effect("is read once, then served on the spot by host and by path", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const byHost = request("/x?internal=%2e", { Host: `${demo}:8443` })
        const byPath = request("/projects/demo/x")
        assert.isUndefined(router.tryRoute(byHost))
        yield* router.route(byHost)
        assert.strictEqual(router.tryRoute(byHost)?.headers["fly-replay"], replay)
        assert.isUndefined(router.tryRoute(byPath), "a host not seen before is parsed first")
        yield* router.route(byPath)
        assert.strictEqual(router.tryRoute(byPath)?.headers["fly-replay"], replay)
        assert.strictEqual(world.finds, 1)
        assert.strictEqual(router.stats().cached, 2)
      })
    )
  )

  it.effect("is not served on the spot where anything but a plain request came", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        yield* get(router)
        yield* router.route(request("/projects/demo/"))
        for (const odd of [
          request("/x", { Host: demo }, "OPTIONS"),
          request("/health", { Host: demo }),
          request("/health?x", { Host: demo }),
          request("/internal/configure", { Host: demo }),
          request("/%69nternal/configure", { Host: demo }),
          request("//internal/configure", { Host: demo }),
          request("/projects/demo/internal/configure"),
          request("/projects/demo/../other/"),
          request("http://demo.fly.valet.host/x"),
          request("/x", { Host: demo, "Fly-Replay-Failed": "reason=timeout" }),
          request("/x", { Host: demo, "fly-replay-src": "instance=a;state=stale" }),
          request("/x", { Host: "a.demo.fly.valet.host" }),
          { method: "GET", url: "/x", rawHeaders: ["Host", demo, "host", "other.example"] },
          { method: "GET", url: "/x", rawHeaders: [] }
        ]) {
          assert.isUndefined(router.tryRoute(odd), `${odd.method} ${odd.url} ${odd.rawHeaders.join(" ")}`)
        }
      })
    )
  )
})

describe("the cache of routes", () => {
  it.effect("drops a project when its row changes, and everything on a resync", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        world.rows.set("other", active("other"))
        const others = request("/x", { Host: projectHost("other") })
        yield* get(router)
        yield* router.route(others)
        yield* PubSub.publish(world.changes, { _tag: "Changed", projectId: id("demo") })
        yield* TestClock.adjust("1 millis")
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
        assert.isDefined(router.tryRoute(others))
        yield* PubSub.publish(world.changes, { _tag: "Resync" })
        yield* TestClock.adjust("1 millis")
        assert.isUndefined(router.tryRoute(others))
      })
    )
  )

  it.effect("does not keep what was read before a change that came during the read", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const reading = yield* Latch.make(false)
        const go = yield* Latch.make(false)
        world.beforeFind = Effect.andThen(reading.open, go.await)
        const first = yield* Effect.forkChild(get(router))
        yield* reading.await
        yield* PubSub.publish(world.changes, { _tag: "Changed", projectId: id("demo") })
        yield* TestClock.adjust("1 millis")
        yield* go.open
        assert.strictEqual((yield* Fiber.join(first)).status, 307)
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
        yield* get(router)
        assert.strictEqual(world.finds, 2)
      })
    )
  )

  it.effect("reads together what comes while a statement runs", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 250 }, (_, index) => `demo-${index}`)
        for (const id of ids) world.rows.set(id, active(id))
        const go = yield* Latch.make(false)
        world.beforeFind = go.await
        const asked = yield* Effect.forkChild(
          Effect.forEach(ids, (id) => router.route(request("/", { Host: projectHost(id) })), {
            concurrency: "unbounded"
          })
        )
        yield* Effect.yieldNow
        yield* go.open
        const answers = yield* Fiber.join(asked)
        assert.deepStrictEqual(
          answers.map((answer) => answer?.headers["fly-replay"]?.split(";")[0]),
          ids.map((id) => `instance=m-${id}`)
        )
        assert.isAtMost(world.finds, 4)
      })
    )
  )

  it.effect("reads beside a statement that is slow, and four at once at most", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const go = yield* Latch.make(false)
        const ask = (name: string) => {
          world.rows.set(name, active(name))
          return Effect.forkChild(router.route(request("/", { Host: projectHost(name) })))
        }
        world.beforeFind = go.await
        const slow = [yield* ask("slow-0")]
        yield* TestClock.adjust("1 millis")
        slow.push(yield* ask("slow-1"))
        yield* TestClock.adjust("20 millis")
        assert.strictEqual(world.finds, 1, "it waits for the first")
        yield* TestClock.adjust("5 millis")
        assert.strictEqual(world.finds, 2, "but not for long")
        for (const name of ["slow-2", "slow-3", "slow-4"]) {
          slow.push(yield* ask(name))
          yield* TestClock.adjust("25 millis")
        }
        yield* TestClock.adjust("1 second")
        assert.strictEqual(world.finds, 4)
        yield* go.open
        const answers = yield* Effect.forEach(slow, Fiber.join)
        assert.deepStrictEqual(
          answers.map((answer) => answer?.status),
          slow.map(() => 307)
        )
        assert.strictEqual(world.finds, 5)
      })
    )
  )

  it.effect("reads a row once for all who wait, also when the first of them leaves", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const reading = yield* Latch.make(false)
        const go = yield* Latch.make(false)
        world.beforeFind = Effect.andThen(reading.open, go.await)
        const first = yield* Effect.forkChild(get(router))
        yield* reading.await
        const rest = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 50 }, () => get(router)),
            { concurrency: "unbounded" }
          )
        )
        yield* Effect.yieldNow
        yield* Fiber.interrupt(first)
        yield* go.open
        const answers = yield* Fiber.join(rest)
        assert.isTrue(answers.every((answer) => answer.status === 307))
        assert.strictEqual(world.finds, 1)
      })
    )
  )

  it.effect("trusts an entry for a minute, and for a second while changes are not heard", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const cached = () => router.tryRoute(request("/x", { Host: demo })) !== undefined
        yield* get(router)
        yield* TestClock.adjust("59 seconds")
        assert.isTrue(cached())
        yield* TestClock.adjust("1 second")
        assert.isFalse(cached())

        yield* get(router)
        world.listening = false
        yield* TestClock.adjust("2 seconds")
        assert.isFalse(cached(), "an old entry")
        assert.isFalse(router.stats().feedConnected)
        yield* get(router)
        yield* TestClock.adjust("900 millis")
        assert.isTrue(cached(), "a new entry within its second")
        yield* TestClock.adjust("100 millis")
        assert.isFalse(cached())
      })
    )
  )

  it.effect("remembers that a project is unknown for two seconds only", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const answer = yield* get(router)
        assert.strictEqual(answer.status, 404)
        assert.strictEqual(code(answer), "project_not_found")
        world.rows.set("demo", active("demo"))
        yield* TestClock.adjust("1900 millis")
        assert.strictEqual((yield* get(router)).status, 404)
        assert.strictEqual(world.finds, 1)
        yield* TestClock.adjust("100 millis")
        assert.strictEqual((yield* get(router)).status, 307)
      })
    )
  )

  it.effect("tells a database that is down from a project that is unknown", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.beforeFind = Effect.fail(new StoreError({ operation: "find", reason: "Unavailable", detail: "down" }))
        const answer = yield* get(router)
        assert.strictEqual(answer.status, 503)
        assert.strictEqual(code(answer), "unavailable")
        assert.isTrue(Number(answer.headers["retry-after"]) > 0)
        world.beforeFind = Effect.void
        world.rows.set("demo", active("demo"))
        assert.strictEqual((yield* get(router)).status, 307)
      })
    )
  )
})

describe("a project that has no route", () => {
  it.effect("is not found while and after it is deleted", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo", { operation: "deleting" }))
        assert.strictEqual((yield* get(router)).status, 404)
        world.rows.set("gone", active("gone", { state: "deleted" }))
        assert.strictEqual((yield* router.route(request("/x", { Host: projectHost("gone") })))?.status, 404)
      })
    )
  )

  it.effect("says that its data can't be reached", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo", { dataUnavailable: true }))
        const answer = yield* get(router)
        assert.strictEqual(answer.status, 503)
        assert.strictEqual(code(answer), "data_unavailable")
        assert.isDefined(answer.headers["retry-after"])
      })
    )
  )
})

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

describe("what is answered before any project", () => {
  it.effect("health, preflight, hosts, hidden paths", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const ask = (target: string, headers: Record<string, string> = {}, method = "GET") =>
          router.route(request(target, headers, method))
        assert.strictEqual((yield* ask("/health", { Host: demo }))?.status, 200)
        const preflight = yield* ask(
          "/x",
          { Host: demo, Origin: "https://app.example", "Access-Control-Request-Headers": "x-a, x-b" },
          "OPTIONS"
        )
        assert.deepStrictEqual(preflight, {
          status: 204,
          headers: {
            "access-control-allow-origin": "https://app.example",
            "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            "access-control-allow-headers": "x-a, x-b",
            "access-control-max-age": "86400",
            vary: "origin, access-control-request-headers"
          },
          body: ""
        })
        assert.strictEqual((yield* ask("/x", {}, "OPTIONS"))?.headers["access-control-allow-origin"], "*")
        assert.strictEqual((yield* ask("/x", { Host: "a.b.fly.valet.host" }))?.status, 400)
        assert.strictEqual((yield* ask("/internal/configure", { Host: demo }))?.status, 404)
        assert.strictEqual((yield* ask("/internal/configure"))?.status, 404)
        assert.isNull(yield* ask("/api/projects"))
        assert.strictEqual(world.finds, 0)
      })
    )
  )
})

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
