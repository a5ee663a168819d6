import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { active, dormant } from "../support.ts"
import { api, isProblem } from "./Asking.ts"

describe("looking", () => {
  it.live("shows a project and its route to anybody", () =>
    api((ask, world) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo", { operation: "archiving" }))
        world.rows.set("asleep", dormant("asleep"))
        const reply = yield* ask("/api/projects/demo")
        assert.strictEqual(reply.status, 200)
        assert.deepStrictEqual(JSON.parse(reply.text), {
          project_id: "demo",
          state: "active",
          operation: "archiving",
          region: "sjc",
          generation: 1,
          created_at: "2023-11-14T22:13:20.000Z",
          last_active_at: "2023-11-14T22:15:00.000Z"
        })
        assert.deepStrictEqual(JSON.parse((yield* ask("/api/route/demo")).text), {
          project_id: "demo",
          state: "active",
          machine_id: "m-demo"
        })
        assert.deepStrictEqual(JSON.parse((yield* ask("/api/route/asleep")).text), {
          project_id: "asleep",
          state: "dormant",
          machine_id: null
        })
        const head = yield* ask("/api/projects/demo", { method: "HEAD" })
        assert.strictEqual(head.status, 200)
        assert.strictEqual(head.text, "")
      })
    )
  )

  it.live("finds nothing under ids that are unknown, deleted, reserved or none", () =>
    api((ask, world) =>
      Effect.gen(function* () {
        world.rows.set("gone", dormant("gone", { state: "deleted" }))
        for (const id of ["nobody", "gone", "admin", "No_Label", "%2e%2e", "a%2fb", "a".repeat(64)]) {
          isProblem(yield* ask(`/api/projects/${id}`), 404, "project_not_found")
          isProblem(yield* ask(`/api/route/${id}`), 404, "project_not_found")
        }
        isProblem(yield* ask(`/api/projects/${"a".repeat(5_000)}`), 404, "not_found")
      })
    )
  )

  it.live("says that the database is down, and when to come back", () =>
    api((ask, world) => {
      world.beforeFind = Effect.fail(
        new StoreError({ operation: "find", reason: "Unavailable", detail: "secret host" })
      )
      return Effect.map(ask("/api/projects/demo"), (reply) => {
        isProblem(reply, 503, "unavailable")
        assert.notInclude(reply.text, "secret host")
      })
    })
  )
})
