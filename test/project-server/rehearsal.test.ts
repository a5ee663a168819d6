/** A server without a project plays through what will be asked of it, beside itself: of it nothing may be seen. */
import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as ProjectServer from "../../src/apps/ProjectServer.ts"
import { freePort } from "../../src/process/Ports.ts"
import type { ProjectServerConfigValue } from "../../src/project-server/ProjectServerConfig.ts"
import { rehearse } from "../../src/project-server/Rehearsal.ts"
import { configOf, configureBody, secret, send, start, temporaryFolder } from "./harness.ts"

/** Runs a server until what it says of its rehearsal is known. */
const saidBy = (config: ProjectServerConfigValue) =>
  Effect.gen(function* () {
    const said = yield* Deferred.make<unknown>()
    const logger = Logger.make<unknown, void>(({ message }) => {
      const text = JSON.stringify(message)
      if (text.includes("rehears")) Deferred.doneUnsafe(said, Effect.succeed(message))
    })
    yield* ProjectServer.run(config).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Debug"),
      Effect.forkScoped
    )
    return yield* Deferred.await(said)
  })

describe("a rehearsal", () => {
  it.live("makes a project of the server that it is held with", () =>
    Effect.gen(function* () {
      const server = yield* start(configOf(yield* temporaryFolder))
      yield* rehearse(server.port, Redacted.make(secret))
      assert.include(JSON.stringify((yield* server.send("GET", "/health")).json), '"project_id":"rehearsal"')
    })
  )

  it.live("fails where it is not answered as it should be, and where nobody listens", () =>
    Effect.gen(function* () {
      const server = yield* start(configOf(yield* temporaryFolder))
      const refused = yield* Effect.flip(rehearse(server.port, Redacted.make("another")))
      assert.strictEqual(refused.message, "/internal/configure was answered with 401")
      yield* server.stop
      const error = yield* Effect.flip(rehearse(server.port, Redacted.make(secret)))
      assert.include(error.message, "ECONNREFUSED")
    })
  )

  it.live("is held beside a server that waits for its project, and leaves nothing", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const port = yield* freePort
      assert.deepStrictEqual(yield* saidBy(configOf(folder, { port })), ["rehearsed"])
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      assert.include(JSON.stringify((yield* send(port, "GET", "/health")).json), '"project_id":null,"generation":0')
      const headers = { authorization: `Bearer ${secret}` }
      const body = JSON.stringify(configureBody(1))
      assert.strictEqual((yield* send(port, "POST", "/internal/configure", { headers, body })).status, 200)
    })
  )

  it.live("is not held by a server that has its project", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(configOf(folder))
      yield* server.call("configure", configureBody(1))
      yield* server.stop
      assert.deepStrictEqual(yield* saidBy(configOf(folder)), ["no rehearsal is needed"])
    })
  )
})
