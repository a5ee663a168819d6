import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Redacted from "effect/Redacted"
import type { ProjectEvent } from "../../src/domain/Event.ts"
import {
  BadRegion,
  Busy,
  Capacity,
  CreateError,
  type CreateInput,
  DeleteError,
  Exists,
  NotFound,
  NotUnavailable,
  RateLimited,
  RecoverError,
  SettingsError,
  SleepError,
  Unavailable,
  WakeError
} from "../../src/programs/lifecycle/Lifecycle.ts"
import { MaxWaiting } from "../../src/http/router/Breaker.ts"
import { StoreError } from "../../src/services/db/StoreError.ts"
import { testConfig } from "../../src/testing/TestPlane.ts"
import {
  active,
  dormant,
  id,
  makeWorld,
  project,
  type Reply,
  send,
  type Sent,
  serve,
  type Setup,
  type World,
  woken
} from "./support.ts"

const operator = { authorization: `Bearer ${Redacted.value(testConfig.secret)}` }
const owner = (text: string) => ({ authorization: `Bearer dk_${text}` })
const json = { "content-type": "application/json" }

type Ask = (path: string, options?: Omit<Sent, "port" | "path">) => Effect.Effect<Reply, Error>

const api = <A, E>(
  body: (ask: Ask, world: World) => Effect.Effect<A, E>,
  setup: Setup | ((world: World) => Setup) = {}
) =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const { port } = yield* serve(world, typeof setup === "function" ? setup(world) : setup)
    return yield* body((path, options) => send({ port, path, ...options }), world)
  })

const post = (body: unknown, headers: Readonly<Record<string, string>> = {}) => ({
  method: "POST",
  headers: { ...json, ...headers },
  body: JSON.stringify(body)
})

const isProblem = (reply: Reply, status: number, code: string) => {
  assert.strictEqual(reply.status, status, reply.text)
  assert.strictEqual(reply.headers["content-type"], "application/problem+json")
  const problem = JSON.parse(reply.text)
  assert.strictEqual(problem.code, code)
  assert.strictEqual(problem.status, status)
  assert.isString(problem.title)
  assert.isString(problem.detail)
  assert.strictEqual(
    problem.type,
    `urn:valet:problem:${code === "wake_failed" || code === "no_capacity" || code === "waking" || code === "data_unavailable" ? "unavailable" : code}`
  )
  assert.isDefined(reply.headers["access-control-allow-origin"], "CORS on every answer")
  if (status === 503) assert.isTrue(Number(reply.headers["retry-after"]) > 0)
  return problem
}

const creating = (inputs: Array<CreateInput>, refuse?: CreateError): Setup => ({
  lifecycle: {
    create: (input) =>
      Effect.suspend(() => {
        inputs.push(input)
        if (refuse !== undefined) return Effect.fail(refuse)
        return Effect.succeed({
          view: active(input.projectId ?? "calm-otter-7k2m9qx"),
          deployKey: Redacted.make("dk_secret"),
          repeated: false
        })
      })
  }
})

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

const everything = (world: World): Setup => {
  world.rows.set("demo", active("demo"))
  world.rows.set("other", active("other"))
  return {
    lifecycle: {
      wake: () => Effect.succeed({ view: active("demo"), woken: false, source: "running", timings: {} }),
      delete: () => Effect.void,
      sleep: () => Effect.succeed(dormant("demo")),
      updateSettings: (_id, patch) =>
        Effect.succeed(active("demo", { settings: { ...project("demo").settings, ...patch } })),
      recover: () => Effect.succeed(dormant("demo"))
    },
    projects: {
      events: () => Effect.succeed([]),
      list: () => Effect.succeed({ projects: [], next: null }),
      counts: Effect.succeed({
        states: { active: 1, suspended: 2, dormant: 3, deleted: 4 },
        operations: { none: 6, creating: 0, waking: 0, archiving: 0, rehosting: 0, deleting: 0 },
        dataUnavailable: 0
      }),
      running: () => Effect.succeed([])
    }
  }
}

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
