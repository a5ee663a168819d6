/** A server without a project calls itself once, which must change nothing. */
import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as ProjectServer from "../../src/apps/ProjectServer.ts"
import { rehearse } from "../../src/project-server/Rehearsal.ts"
import { configOf, configureBody, secret, start, temporaryFolder } from "./harness.ts"

describe("a rehearsal", () => {
  it.live("is refused once the whole request was read, and leaves nothing", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const server = yield* start(configOf(folder))
      const before = yield* server.send("GET", "/health")
      assert.strictEqual(yield* rehearse(server.port, Redacted.make(secret)), 400)
      assert.deepStrictEqual((yield* server.send("GET", "/health")).json, before.json)
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      assert.strictEqual((yield* server.call("configure", configureBody(1))).status, 200)
    })
  )

  it.live("fails where nobody listens", () =>
    Effect.gen(function* () {
      const server = yield* start(configOf(yield* temporaryFolder))
      yield* server.stop
      const error = yield* Effect.flip(rehearse(server.port, Redacted.make(secret)))
      assert.include(error.message, "ECONNREFUSED")
    })
  )

  it.live("is what a server does that waits for its project", () =>
    Effect.gen(function* () {
      const said = yield* Deferred.make<unknown>()
      const logger = Logger.make<unknown, void>(({ message }) => {
        if (JSON.stringify(message).includes("rehears")) Deferred.doneUnsafe(said, Effect.succeed(message))
      })
      yield* ProjectServer.run(configOf(yield* temporaryFolder)).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Debug"),
        Effect.forkScoped
      )
      assert.deepStrictEqual(yield* Deferred.await(said), ["rehearsed", { status: 400 }])
    })
  )
})
