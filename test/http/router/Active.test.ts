/** Projects that are up, those that have no route, and what is answered before any. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { active, projectHost, request } from "../support.ts"
import { demo, replay, run, get, code } from "./Asking.ts"

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
