import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Client from "../../src/client/Client.ts"
import { CreateError, RateLimited } from "../../src/programs/lifecycle/Lifecycle.ts"
import { testConfig } from "../../src/testing/TestPlane.ts"
import { active, makeWorld, serve, type Setup, woken } from "./support.ts"

const withClient = (setup: Setup, token?: Redacted.Redacted) =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    world.rows.set("demo", active("demo"))
    const { port } = yield* serve(world, setup)
    const baseUrl = `http://127.0.0.1:${port}`
    return yield* Client.make(token === undefined ? { baseUrl } : { baseUrl, token })
  }).pipe(Effect.provide(FetchHttpClient.layer))

describe("the typed client", () => {
  it.live("reads answers and errors as the contract has them", () =>
    Effect.gen(function* () {
      const client = yield* withClient({
        lifecycle: {
          create: () => Effect.fail(new CreateError({ reason: new RateLimited({ retryAfterMs: 1_200, detail: "" }) }))
        }
      })
      const project = yield* client.projects.get({ params: { id: "demo" } })
      assert.strictEqual(project.state, "active")
      const unknown = yield* Effect.flip(client.projects.get({ params: { id: "nobody" } }))
      assert.strictEqual(unknown._tag, "ProjectNotFound")
      const limited = yield* Effect.flip(client.projects.create({ payload: null, headers: {} }))
      assert.strictEqual(limited._tag, "RateLimited")
      assert.strictEqual(limited._tag === "RateLimited" ? limited.retry_after_seconds : 0, 2)
      const refused = yield* Effect.flip(client.operator.status())
      assert.strictEqual(refused._tag, "Unauthorized")
    })
  )

  it.live("sends its token", () =>
    Effect.gen(function* () {
      const client = yield* withClient(
        { lifecycle: { wake: () => Effect.succeed(woken(active("demo"))), delete: () => Effect.void } },
        testConfig.secret
      )
      const { body, headers } = yield* client.operator.wake({ params: { id: "demo" }, query: {} })
      assert.isTrue(body.woken)
      assert.match(headers["server-timing"], /^begin;dur=2/)
      assert.isUndefined(yield* client.owner.delete({ params: { id: "demo" } }))
    })
  )
})
