import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  BadRegion,
  CreateError,
  type CreateInput,
  Exists,
  RateLimited,
  Unavailable
} from "../../../src/programs/lifecycle/Lifecycle.ts"
import type { testConfig } from "../../../src/testing/TestPlane.ts"
import { id } from "../support.ts"
import { operator, json, api, post, isProblem, creating } from "./Asking.ts"

describe("POST /api/projects", () => {
  it.live("creates a project without a body, for anybody", () => {
    const inputs: Array<CreateInput> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const reply = yield* ask("/api/projects", { method: "POST", headers: { host: "plane.example:7000" } })
          assert.strictEqual(reply.status, 201)
          assert.deepStrictEqual(JSON.parse(reply.text), {
            project_id: "calm-otter-7k2m9qx",
            state: "active",
            region: "sjc",
            machine_id: "m-calm-otter-7k2m9qx",
            generation: 1,
            deploy_key: "dk_secret",
            url: "http://calm-otter-7k2m9qx.fly.valet.host:7000/",
            created_at: "2023-11-14T22:13:20.000Z"
          })
          assert.strictEqual(reply.headers["location"], "/api/projects/calm-otter-7k2m9qx")
          assert.strictEqual(reply.headers["cache-control"], "no-store")
          assert.deepStrictEqual(inputs, [
            {
              projectId: null,
              region: null,
              idleTimeoutSeconds: null,
              client: "127.0.0.1",
              idempotencyKey: null,
              deadlineMs: 25_000
            }
          ])
        }),
      creating(inputs)
    )
  })

  it.live("takes what the body and the headers say, from the operator without a limit", () => {
    const inputs: Array<CreateInput> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const body = { project_id: "my-shop", region: "ams", idle_timeout_seconds: 60 }
          const reply = yield* ask("/api/projects", post(body, { ...operator, "idempotency-key": "k-1" }))
          assert.strictEqual(reply.status, 201)
          assert.deepStrictEqual(inputs[0], {
            projectId: id("my-shop"),
            region: "ams",
            idleTimeoutSeconds: 60,
            client: null,
            idempotencyKey: "k-1",
            deadlineMs: 25_000
          })
        }),
      creating(inputs)
    )
  })

  it.live("wants a bearer for a chosen id, for a closed plane, and refuses a wrong one always", () => {
    const inputs: Array<CreateInput> = []
    return Effect.gen(function* () {
      yield* api(
        (ask) =>
          Effect.gen(function* () {
            isProblem(yield* ask("/api/projects", post({ project_id: "my-shop" })), 401, "unauthorized")
            for (const authorization of ["Bearer wrong", "Bearer ", "Basic abc", "dk_secret", ""]) {
              const reply = yield* ask("/api/projects", { method: "POST", headers: { authorization } })
              isProblem(reply, 401, "unauthorized")
              assert.strictEqual(reply.headers["www-authenticate"], `Bearer realm="valet"`)
            }
          }),
        creating(inputs)
      )
      yield* api(
        (ask) =>
          Effect.gen(function* () {
            isProblem(yield* ask("/api/projects", { method: "POST" }), 401, "unauthorized")
            assert.strictEqual((yield* ask("/api/projects", post({}, operator))).status, 201)
          }),
        { ...creating(inputs), config: (config) => ({ ...config, create: { ...config.create, public: false } }) }
      )
      assert.strictEqual(inputs.length, 1)
    })
  })

  const invalid: ReadonlyArray<readonly [string, string | object, string]> = [
    ["not JSON", "{", "invalid_request"],
    ["not an object", "[]", "invalid_request"],
    ["not an object", "5", "invalid_request"],
    ["a wrong type", { region: 5 }, "invalid_request"],
    ["a region in capitals", { region: "SJC" }, "invalid_request"],
    ["a fraction", { idle_timeout_seconds: 7.5 }, "invalid_request"],
    ["too little", { idle_timeout_seconds: 0 }, "invalid_request"],
    ["too much", { idle_timeout_seconds: 1e12 }, "invalid_request"],
    ["an unknown field", { regoin: "sjc" }, "invalid_request"],
    ["a malformed id", { project_id: "No_Label" }, "invalid_request"],
    ["a label that is too long", { project_id: "a".repeat(64) }, "invalid_request"],
    ["a reserved id", { project_id: "admin" }, "reserved_project_id"],
    ["a punycode id", { project_id: "xn--80ak6aa92e" }, "reserved_project_id"]
  ]
  it.live("refuses what is not a request, and names the field", () => {
    const inputs: Array<CreateInput> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          for (const [name, body, code] of invalid) {
            const reply = yield* ask("/api/projects", {
              method: "POST",
              headers: { ...json, ...operator },
              body: typeof body === "string" ? body : JSON.stringify(body)
            })
            const problem = isProblem(reply, 400, code)
            if (name === "a wrong type") assert.deepStrictEqual(problem.errors[0].path, ["payload", "region"])
          }
          isProblem(
            yield* ask("/api/projects", post({}, { "idempotency-key": "k".repeat(256) })),
            400,
            "invalid_request"
          )
          isProblem(
            yield* ask("/api/projects", { method: "POST", headers: { "content-type": "text/plain" }, body: "x" }),
            415,
            "unsupported_media_type"
          )
          assert.deepStrictEqual(inputs, [])
        }),
      creating(inputs)
    )
  })

  it.live("refuses a body of more than 64 KiB, announced or in chunks", () => {
    const inputs: Array<CreateInput> = []
    return api(
      (ask) =>
        Effect.gen(function* () {
          const big = JSON.stringify({ region: "a".repeat(70_000) })
          isProblem(yield* ask("/api/projects", { method: "POST", headers: json, body: big }), 413, "payload_too_large")
          const chunks = { method: "POST", headers: json, body: [big.slice(0, 40_000), big.slice(40_000)] }
          isProblem(yield* ask("/api/projects", chunks), 413, "payload_too_large")
          const unread = { method: "POST", headers: operator, body: big }
          isProblem(yield* ask("/api/projects/demo/activity", unread), 413, "payload_too_large")
          assert.deepStrictEqual(inputs, [])
        }),
      creating(inputs)
    )
  })

  const refusals: ReadonlyArray<readonly [CreateError["reason"], number, string, string | undefined]> = [
    [new RateLimited({ retryAfterMs: 59_001, detail: "" }), 429, "rate_limited", "60"],
    [new RateLimited({ retryAfterMs: 1, detail: "" }), 429, "rate_limited", "1"],
    [new Exists({ detail: "" }), 409, "project_exists", undefined],
    [new BadRegion({ detail: "not allowed" }), 400, "bad_region", undefined],
    [new Unavailable({ retryAfterMs: 1_500, detail: "" }), 503, "unavailable", "2"]
  ]
  for (const [reason, status, code, retryAfter] of refusals) {
    it.live(`tells ${reason._tag} (${status})`, () =>
      api(
        (ask) =>
          Effect.gen(function* () {
            const reply = yield* ask("/api/projects", { method: "POST" })
            const problem = isProblem(reply, status, code)
            assert.strictEqual(reply.headers["retry-after"], retryAfter)
            if (retryAfter !== undefined) assert.strictEqual(problem.retry_after_seconds, Number(retryAfter))
          }),
        creating([], new CreateError({ reason }))
      )
    )
  }

  it.live("counts the client that Fly names on Fly, and the peer elsewhere", () => {
    const inputs: Array<CreateInput> = []
    const forged = {
      method: "POST",
      headers: { "fly-client-ip": "2001:db8:1:2:3:4:5:6", "x-forwarded-for": "9.9.9.9" }
    }
    return Effect.gen(function* () {
      yield* api((ask) => ask("/api/projects", forged), creating(inputs))
      yield* api((ask) => ask("/api/projects", forged), {
        ...creating(inputs),
        config: (config) => ({ ...config, onFly: true })
      })
      assert.deepStrictEqual(
        inputs.map(({ client }) => client),
        ["127.0.0.1", "2001:db8:1:2::/64"]
      )
    })
  })

  it.live("builds the address from the template, or as a path where there is no domain", () =>
    Effect.gen(function* () {
      const url = (
        router: Partial<typeof testConfig.router>,
        headers: Readonly<Record<string, string>> = {},
        onFly = false
      ) =>
        api((ask) => ask("/api/projects", { method: "POST", headers: { host: "valet.example", ...headers } }), {
          ...creating([]),
          config: (config) => ({ ...config, onFly, router: { ...config.router, ...router } })
        }).pipe(Effect.map((reply) => JSON.parse(reply.text).url))
      const id = "calm-otter-7k2m9qx"
      assert.strictEqual(yield* url({ publicUrl: "https://{project_id}.x.dev/" }), `https://${id}.x.dev/`)
      assert.strictEqual(yield* url({ domain: null }), `http://valet.example/projects/${id}/`)
      const https = { "x-forwarded-proto": "https" }
      assert.strictEqual(yield* url({}, https, true), `https://${id}.fly.valet.host/`)
      assert.strictEqual(yield* url({}, https), `http://${id}.fly.valet.host/`, "only Fly is believed")
    })
  )
})
