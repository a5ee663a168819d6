/** The API over HTTP on a world of its own, asked by its operator and by owners. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { CreateError, CreateInput } from "../../../src/programs/lifecycle/Lifecycle.ts"
import { testConfig } from "../../../src/testing/TestPlane.ts"
import {
  active,
  dormant,
  makeWorld,
  project,
  type Reply,
  send,
  type Sent,
  serve,
  type Setup,
  type World
} from "../support.ts"

export const operator = { authorization: `Bearer ${Redacted.value(testConfig.secret)}` }
export const owner = (text: string) => ({ authorization: `Bearer dk_${text}` })
export const json = { "content-type": "application/json" }

type Ask = (path: string, options?: Omit<Sent, "port" | "path">) => Effect.Effect<Reply, Error>

export const api = <A, E>(
  body: (ask: Ask, world: World) => Effect.Effect<A, E>,
  setup: Setup | ((world: World) => Setup) = {}
) =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const { port } = yield* serve(world, typeof setup === "function" ? setup(world) : setup)
    return yield* body((path, options) => send({ port, path, ...options }), world)
  })

export const post = (body: unknown, headers: Readonly<Record<string, string>> = {}) => ({
  method: "POST",
  headers: { ...json, ...headers },
  body: JSON.stringify(body)
})

export const isProblem = (reply: Reply, status: number, code: string) => {
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

export const creating = (inputs: Array<CreateInput>, refuse?: CreateError): Setup => ({
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

export const everything = (world: World): Setup => {
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
