import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { active } from "../support.ts"
import { operator, owner, json, api, isProblem, everything } from "./Asking.ts"

const ownerPaths: ReadonlyArray<readonly [string, string, object | undefined, number]> = [
  ["POST", "/api/projects/demo/activity", undefined, 204],
  ["POST", "/api/projects/demo/sleep", { to: "dormant" }, 200],
  ["PATCH", "/api/projects/demo", { pinned: true }, 200],
  ["GET", "/api/projects/demo/events", undefined, 200],
  ["DELETE", "/api/projects/demo", undefined, 204]
]
const operatorPaths: ReadonlyArray<readonly [string, string, object | undefined, number]> = [
  ["GET", "/api/projects", undefined, 200],
  ["POST", "/api/projects/demo/wake", undefined, 200],
  ["POST", "/api/projects/demo/recover", { from: "archive" }, 200],
  ["GET", "/api/status", undefined, 200]
]

describe("who may do what", () => {
  it.live("the owner's endpoints take the deploy key of their project, or the operator's bearer", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          for (const [method, path, body, status] of ownerPaths) {
            const options = (headers: Readonly<Record<string, string>>) => ({
              method,
              headers: { ...json, ...headers },
              ...(body === undefined ? {} : { body: JSON.stringify(body) })
            })
            for (const headers of [
              {},
              owner("other"),
              owner("dem"),
              { authorization: "Bearer dk_" },
              { authorization: "Bearer nonsense" }
            ]) {
              isProblem(yield* ask(path, options(headers)), 401, "unauthorized")
            }
            assert.strictEqual((yield* ask(path, options(owner("demo")))).status, status, `${method} ${path}`)
            assert.strictEqual((yield* ask(path, options(operator))).status, status)
            isProblem(yield* ask(path.replace("demo", "nobody"), options(owner("demo"))), 401, "unauthorized")
          }
        }),
      everything
    )
  )

  it.live("the operator's take no deploy key", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          for (const [method, path, body, status] of operatorPaths) {
            const options = (headers: Readonly<Record<string, string>>) => ({
              method,
              headers: { ...json, ...headers },
              ...(body === undefined ? {} : { body: JSON.stringify(body) })
            })
            for (const headers of [{}, owner("demo"), { authorization: "Bearer nonsense" }]) {
              isProblem(yield* ask(path, options(headers)), 401, "unauthorized")
            }
            assert.strictEqual((yield* ask(path, options(operator))).status, status, `${method} ${path}`)
          }
        }),
      everything
    )
  )

  it.live("the previous secret is accepted while it rotates, and is not otherwise", () => {
    const headers = { authorization: "Bearer old-secret" }
    const secretPrevious = Redacted.make("old-secret")
    return Effect.gen(function* () {
      const accepted = yield* api(
        (ask) => ask("/api/status", { headers }),
        (world) => ({
          ...everything(world),
          config: (config) => ({ ...config, secretPrevious })
        })
      )
      assert.strictEqual(accepted.status, 200)
      isProblem(yield* api((ask) => ask("/api/status", { headers }), everything), 401, "unauthorized")
    })
  })

  it.live("a deploy key that can't be opened lets nobody in", () =>
    api((ask, world) => {
      world.rows.set("demo", active("demo", { deployKey: { sealed: "dk_demo", keyId: "lost" } }))
      return Effect.map(ask("/api/projects/demo/events", { headers: owner("demo") }), (reply) =>
        isProblem(reply, 401, "unauthorized")
      )
    }, everything)
  )

  it.live("answers 405 with what is allowed, before anything else", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          const cases = [
            ["PUT", "/api/projects", "GET, HEAD, OPTIONS, POST"],
            ["PUT", "/api/projects/demo", "DELETE, GET, HEAD, OPTIONS, PATCH"],
            ["GET", "/api/projects/demo/wake", "OPTIONS, POST"],
            ["POST", "/api/status", "GET, HEAD, OPTIONS"],
            ["DELETE", "/", "GET, HEAD, OPTIONS"],
            ["POST", "/health/ready", "GET, HEAD, OPTIONS"],
            ["PROPFIND", "/api/status", "GET, HEAD, OPTIONS"]
          ] as const
          for (const [method, path, allow] of cases) {
            const reply = yield* ask(path, { method })
            isProblem(reply, 405, "method_not_allowed")
            assert.strictEqual(reply.headers["allow"], allow)
          }
          isProblem(yield* ask("/api/nothing"), 404, "not_found")
          isProblem(yield* ask("/nothing", { method: "POST" }), 404, "not_found")
        }),
      everything
    )
  )

  it.live("lets pages of every origin read answers, errors too", () =>
    api(
      (ask) =>
        Effect.gen(function* () {
          const headers = { origin: "https://app.example" }
          for (const [path, method] of [
            ["/api/projects/demo", "GET"],
            ["/api/status", "GET"],
            ["/api/nothing", "GET"],
            ["/api/status", "PUT"]
          ] as const) {
            const reply = yield* ask(path, { method, headers })
            assert.strictEqual(reply.headers["access-control-allow-origin"], "https://app.example")
            assert.match(String(reply.headers["access-control-expose-headers"]), /retry-after/)
          }
          const preflight = yield* ask("/api/projects", { method: "OPTIONS", headers })
          assert.strictEqual(preflight.status, 204)
          assert.strictEqual(preflight.headers["access-control-max-age"], "86400")
        }),
      everything
    )
  )
})
