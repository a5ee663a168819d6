import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { ProjectEvent } from "../../../src/domain/Event.ts"
import {
  Busy,
  DeleteError,
  NotFound,
  SettingsError,
  SleepError,
  Unavailable
} from "../../../src/programs/lifecycle/Lifecycle.ts"
import { active, project } from "../support.ts"
import { operator, owner, json, api, post, isProblem, everything } from "./Asking.ts"

describe("the owner's endpoints", () => {
  it.live("write activity", () =>
    api(
      (ask, world) =>
        Effect.gen(function* () {
          assert.strictEqual(
            (yield* ask("/api/projects/demo/activity", { method: "POST", headers: operator })).status,
            204
          )
          assert.deepStrictEqual(world.touched, [["demo"]])
          const unknown = { method: "POST", headers: operator }
          isProblem(yield* ask("/api/projects/nobody/activity", unknown), 404, "project_not_found")
        }),
      everything
    )
  )

  it.live("change settings, null for the plane's default, and refuse what is no setting", () => {
    const patches: Array<object> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const patch = (body: unknown) =>
            ask("/api/projects/demo", {
              method: "PATCH",
              headers: { ...json, ...operator },
              body: JSON.stringify(body)
            })
          const reply = yield* patch({ idle_timeout_seconds: 90, dormancy_threshold_seconds: null })
          assert.deepStrictEqual(JSON.parse(reply.text), {
            project_id: "demo",
            state: "active",
            idle_timeout_seconds: 90,
            dormancy_threshold_seconds: null,
            pinned: false
          })
          yield* patch({ pinned: true })
          assert.deepStrictEqual(patches, [
            { idleTimeoutSeconds: 90, dormancyThresholdSeconds: null },
            { pinned: true }
          ])
          for (const bad of [
            {},
            { pinnned: true },
            { pinned: "yes" },
            { pinned: null },
            { idle_timeout_seconds: -1 },
            null
          ]) {
            isProblem(yield* patch(bad), 400, "invalid_request")
          }
          assert.strictEqual(patches.length, 2)
        }),
      (world) => {
        const setup = everything(world)
        return {
          ...setup,
          lifecycle: {
            ...setup.lifecycle,
            updateSettings: (_id, patch) =>
              Effect.sync(() => {
                patches.push(patch)
                return active("demo", { settings: { ...project("demo").settings, ...patch } })
              })
          }
        }
      }
    )
  })

  it.live("page through events with opaque cursors", () => {
    const all: ReadonlyArray<ProjectEvent> = Array.from({ length: 5 }, (_, i) => ({
      id: 50 - i,
      projectId: project("demo").projectId,
      at: 1_700_000_000_000 - i,
      kind: "woken",
      generation: 1,
      detail: { machine: "v1", ms: 3 }
    }))
    return api(
      (ask) =>
        Effect.gen(function* () {
          const page = (query: string) => ask(`/api/projects/demo/events${query}`, { headers: owner("demo") })
          const first = JSON.parse((yield* page("?limit=3")).text)
          assert.strictEqual(first.events.length, 3)
          assert.deepStrictEqual(first.events[0], {
            at: "2023-11-14T22:13:20.000Z",
            kind: "woken",
            generation: 1,
            detail: { machine: "v1", ms: 3 }
          })
          const second = JSON.parse((yield* page(`?limit=3&cursor=${first.next_cursor}`)).text)
          assert.strictEqual(second.events.length, 2)
          assert.isNull(second.next_cursor)
          isProblem(yield* page("?cursor=nonsense"), 400, "invalid_cursor")
          for (const limit of ["0", "201", "x", "1.5", "NaN", ""]) {
            isProblem(yield* page(`?limit=${limit}`), 400, "invalid_request")
          }
        }),
      (world) => {
        const setup = everything(world)
        return {
          ...setup,
          projects: {
            ...setup.projects,
            events: ({ before, limit }) =>
              Effect.succeed(all.filter((event) => before === null || event.id < before).slice(0, limit))
          }
        }
      }
    )
  })

  it.live("tell why they did not", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          const busy = yield* ask("/api/projects/demo/sleep", post({ to: "suspended" }, operator))
          isProblem(busy, 409, "busy")
          assert.strictEqual(busy.headers["retry-after"], "31")
          isProblem(yield* ask("/api/projects/demo/sleep", post({ to: "hibernate" }, operator)), 400, "invalid_request")
          isProblem(yield* ask("/api/projects/demo", { method: "DELETE", headers: operator }), 503, "unavailable")
          isProblem(yield* ask("/api/projects/none", { method: "DELETE", headers: operator }), 404, "project_not_found")
          const patch = { method: "PATCH", headers: { ...json, ...operator }, body: `{"pinned":true}` }
          isProblem(yield* ask("/api/projects/demo", patch), 404, "project_not_found")
        }),
      {
        lifecycle: {
          sleep: () =>
            Effect.fail(new SleepError({ reason: new Busy({ retryAfterMs: 30_500, detail: "2 connections" }) })),
          delete: (projectId) =>
            Effect.fail(
              new DeleteError({
                reason:
                  projectId === "demo"
                    ? new Unavailable({ retryAfterMs: 1_000, detail: "database" })
                    : new NotFound({ detail: "" })
              })
            ),
          updateSettings: () => Effect.fail(new SettingsError({ reason: new NotFound({ detail: "" }) }))
        }
      }
    )
  )
})
