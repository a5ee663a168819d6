/** README's examples run as they stand. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { freePort } from "../../src/process/Ports.ts"
import { eventually } from "../support/eventually.ts"
import { ask, bearer, instanceEnvironment, Platform, run } from "./Platform.ts"

const example = (name: string) => ["--conditions=valet-source", `examples/${name}`]

describe("the example on imagined processes", () => {
  it.live("holds a server while it is used, and stops it after its idle time", () =>
    Effect.gen(function* () {
      const { output, ended } = yield* run(example("embed-orchestrator.ts"))
      assert.strictEqual(yield* ended, 0)
      const told = output.join("")
      assert.match(told, /^running 1 connection$/m)
      assert.match(told, /^idle until 1970-01-01T01:05:00.061Z$/m)
      assert.match(told, /^0 servers, 1 stopped$/m)
    }).pipe(Effect.scoped)
  )
})

describe("the example on fakes", () => {
  it.live("goes through a project's life in no time", () =>
    Effect.gen(function* () {
      const { output, ended } = yield* run(example("embed.ts"))
      assert.strictEqual(yield* ended, 0)
      const told = output.join("")
      assert.match(told, /created [a-z0-9-]+: active/)
      assert.match(told, /archived: 1/)
      assert.match(told, /woken cold: active, generation 3/)
    }).pipe(Effect.scoped)
  )
})

layer(Platform.layer(["--pool-size", "1"]), { excludeTestServices: true, timeout: "90 seconds" })(
  "the example on live systems",
  (it) => {
    it.effect("serves its own route and the plane's under one listener", () =>
      Effect.gen(function* () {
        const { dev, dataDir } = yield* Platform
        const port = yield* freePort
        const base = `http://127.0.0.1:${port}`
        const { child, ended } = yield* run(example("embed-live.ts"), {
          ...(yield* instanceEnvironment(dev, dataDir)),
          PORT: String(port)
        })
        const up = Effect.orElseSucceed(ask(base, { path: "/health/ready" }), () => ({ status: 0 }))
        yield* eventually(Effect.map(up, ({ status }) => status === 200))
        assert.strictEqual((yield* ask(base, { path: "/mine" })).body, "this one is mine")
        const list = yield* ask(base, { path: "/api/projects", headers: bearer(dev) })
        assert.strictEqual(list.status, 200)
        child.kill("SIGTERM")
        yield* ended
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
    )
  }
)
