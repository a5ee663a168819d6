import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { Capacity, NotUnavailable, RecoverError, WakeError } from "../../../src/programs/lifecycle/Lifecycle.ts"
import { MaxWaiting } from "../../../src/http/router/Breaker.ts"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { active, project, woken } from "../support.ts"
import { operator, api, post, isProblem, everything } from "./Asking.ts"

describe("the operator's endpoints", () => {
  it.live("wake a project and say where the time went", () => {
    const forced: Array<boolean | undefined> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const reply = yield* ask("/api/projects/demo/wake", { method: "POST", headers: operator })
          assert.deepStrictEqual(JSON.parse(reply.text), {
            project_id: "demo",
            state: "active",
            machine_id: "m-demo",
            woken: true,
            timings_ms: { begin: 2, configure: 31.25 }
          })
          assert.strictEqual(reply.headers["server-timing"], "begin;dur=2, configure;dur=31.3")
          yield* ask("/api/projects/demo/wake?force=true", { method: "POST", headers: operator })
          assert.deepStrictEqual(forced, [false, true])
        }),
      {
        lifecycle: {
          wake: (_id, { force }) =>
            Effect.sync(() => {
              forced.push(force)
              return { view: active("demo"), woken: true, source: "pool", timings: { begin: 2, configure: 31.25 } }
            })
        }
      }
    )
  })

  it.live("tell that there is no room, and no decision to make", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          const wake = yield* ask("/api/projects/demo/wake", { method: "POST", headers: operator })
          isProblem(wake, 503, "no_capacity")
          assert.strictEqual(wake.headers["retry-after"], "9")
          isProblem(yield* ask("/api/projects/demo/recover", post({ from: "empty" }, operator)), 409, "not_unavailable")
          isProblem(yield* ask("/api/projects/demo/recover", post({ from: "luck" }, operator)), 400, "invalid_request")
        }),
      {
        lifecycle: {
          wake: () => Effect.fail(new WakeError({ reason: new Capacity({ retryAfterMs: 8_100, detail: "" }) })),
          recover: () => Effect.fail(new RecoverError({ reason: new NotUnavailable({ detail: "its data is there" }) }))
        }
      }
    )
  )

  it.live("list projects by state, and refuse a cursor that is not theirs", () => {
    const asked: Array<object> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const reply = yield* ask("/api/projects?state=dormant&limit=2&cursor=abc", { headers: operator })
          const page = JSON.parse(reply.text)
          assert.strictEqual(page.projects[0].project_id, "demo")
          assert.strictEqual(page.next_cursor, "next")
          assert.deepStrictEqual(asked, [{ state: "dormant", cursor: "abc", limit: 2 }])
          isProblem(yield* ask("/api/projects?cursor=broken", { headers: operator }), 400, "invalid_cursor")
          isProblem(yield* ask("/api/projects?state=deleted", { headers: operator }), 400, "invalid_request")
        }),
      {
        projects: {
          list: (input) =>
            Effect.suspend(() => {
              asked.push(input)
              return input.cursor === "broken"
                ? Effect.fail(new StoreError({ operation: "list", reason: "Broken", detail: "cursor" }))
                : Effect.succeed({ projects: [project("demo", { state: "dormant" })], next: "next" })
            })
        }
      }
    )
  })

  it.live("show the state of the plane", () =>
    api(
      (ask) =>
        Effect.map(ask("/api/status", { headers: operator }), (reply) => {
          const status = JSON.parse(reply.text)
          assert.deepStrictEqual(status.projects, {
            active: 1,
            suspended: 2,
            dormant: 3,
            deleted: 4,
            data_unavailable: 0
          })
          assert.deepStrictEqual(status.pool, { target: 2, regions: { sjc: { ready: 0, provisioning: 0 } } })
          assert.deepStrictEqual(status.machines, { used: 3, max: 1_000 })
          assert.strictEqual(status.archival, "on")
        }),
      everything
    )
  )

  it.live("are bounded: one more request than the instance holds is turned away", () =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<void>()
      const arrived = yield* Latch.make(false)
      yield* api(
        (ask) =>
          Effect.gen(function* () {
            const wake = ask("/api/projects/demo/wake", { method: "POST", headers: operator })
            const held = yield* Effect.forkChild(wake)
            yield* arrived.await
            isProblem(yield* ask("/api/status", { headers: operator }), 503, "overloaded")
            assert.strictEqual((yield* ask("/health")).status, 200)
            yield* Deferred.succeed(done, undefined)
            assert.strictEqual((yield* Fiber.join(held)).status, 200)
          }),
        {
          lifecycle: {
            wake: () => Effect.andThen(arrived.open, Effect.as(Deferred.await(done), woken(active("demo"))))
          }
        }
      )
    }).pipe(Effect.provideService(MaxWaiting, 1))
  )
})
