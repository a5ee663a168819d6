import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { connect, start, temporaryFolder, unmanaged } from "./harness.ts"

describe("pings", () => {
  it.effect("drop a peer that does not answer, and only that one", () =>
    Effect.gen(function* () {
      const server = yield* start(unmanaged(yield* temporaryFolder))
      const living = yield* server.connect
      const dead = yield* connect(server.port, "/ws", {}, false)
      assert.strictEqual(server.gate.connections(), 2)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(server.gate.connections(), 2)
      // The ping precedes the first answer, and the pong the second question.
      for (const id of [1, 2]) yield* living.ask({ id, op: "get", key: "k" })
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* dead.closed, 1006)
      assert.strictEqual((yield* living.ask({ id: 3, op: "get", key: "k" }))["ok"], true)
      assert.strictEqual(server.gate.connections(), 1)
    })
  )
})
