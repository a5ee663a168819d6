import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { PlaneHttp } from "../../src/http/PlaneHttp.ts"
import { Router } from "../../src/http/router/Router.ts"
import { Server } from "../../src/http/Server.ts"
import { LoopStatus } from "../../src/programs/background/LoopStatus.ts"
import { ChangeFeed } from "../../src/services/db/ChangeFeed.ts"
import { layerTestPlane, testConfig } from "../../src/testing/TestPlane.ts"
import { send } from "./support.ts"

const operator = { authorization: `Bearer ${Redacted.value(testConfig.secret)}` }
const json = { "content-type": "application/json" }

const layerServed = Server.layer().pipe(
  Layer.provide(PlaneHttp.layer),
  Layer.provide(Router.layer),
  Layer.provide(
    Layer.mergeAll(
      layerTestPlane({ config: (config) => ({ ...config, port: 0 }) }),
      ChangeFeed.layerAlways,
      Layer.succeed(LoopStatus, { statuses: Effect.succeed([]) })
    )
  )
)

describe("a whole plane in memory behind the listener", () => {
  it.live("a project is created, served, put to sleep, woken by its next request, and deleted", () =>
    Effect.gen(function* () {
      const { port } = Context.get(yield* Layer.build(layerServed), Server)
      const create = yield* send({
        port,
        path: "/api/projects",
        method: "POST",
        headers: { ...json, "idempotency-key": "one" },
        body: "{}"
      })
      assert.strictEqual(create.status, 201, create.text)
      const created = JSON.parse(create.text)
      const again = yield* send({ port, path: "/api/projects", method: "POST", headers: { "idempotency-key": "one" } })
      assert.strictEqual(JSON.parse(again.text).deploy_key, created.deploy_key)

      const host = `${created.project_id}.fly.valet.host`
      const visit = (method = "GET") => send({ port, path: "/", method, headers: { host } })
      const served = yield* visit()
      assert.strictEqual(served.status, 307, served.text)
      assert.match(String(served.headers["fly-replay"]), new RegExp(`^instance=${created.machine_id};`))

      const owner = { authorization: `Bearer ${created.deploy_key}`, ...json }
      const path = `/api/projects/${created.project_id}`
      const slept = yield* send({
        port,
        path: `${path}/sleep`,
        method: "POST",
        headers: owner,
        body: `{"to":"dormant"}`
      })
      assert.strictEqual(slept.status, 200, slept.text)
      assert.strictEqual(JSON.parse(slept.text).state, "dormant")
      assert.strictEqual((yield* visit("HEAD")).headers["x-valet-state"], "dormant")
      const woken = yield* visit()
      assert.strictEqual(woken.status, 307, woken.text)
      assert.notStrictEqual(woken.headers["fly-replay"], served.headers["fly-replay"])

      const events = yield* send({ port, path: `${path}/events`, headers: owner })
      const kinds: ReadonlyArray<string> = JSON.parse(events.text).events.map((event: { kind: string }) => event.kind)
      assert.includeMembers([...kinds], ["created", "archived", "woken"])
      assert.strictEqual((yield* send({ port, path: "/api/status", headers: operator })).status, 200)

      assert.strictEqual((yield* send({ port, path, method: "DELETE", headers: owner })).status, 204)
      assert.strictEqual((yield* visit()).status, 404)
      assert.strictEqual((yield* send({ port, path })).status, 404)
      const taken = yield* send({
        port,
        path: "/api/projects",
        method: "POST",
        headers: { ...json, ...operator },
        body: JSON.stringify({ project_id: created.project_id })
      })
      assert.strictEqual(taken.status, 409)
    })
  )

  it.live("the burst of three creates a minute holds for a client, and not for the operator", () =>
    Effect.gen(function* () {
      const { port } = Context.get(yield* Layer.build(layerServed), Server)
      const create = (headers: Readonly<Record<string, string>> = {}) =>
        send({ port, path: "/api/projects", method: "POST", headers })
      const replies = yield* Effect.all([create(), create(), create(), create()])
      assert.deepStrictEqual(
        replies.map(({ status }) => status),
        [201, 201, 201, 429]
      )
      const wait = Number(replies[3]?.headers["retry-after"])
      assert.isTrue(wait > 0 && wait <= 60)
      assert.strictEqual((yield* create(operator)).status, 201)
    })
  )
})
