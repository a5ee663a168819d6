import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { FakeServerHost, layerFakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { within } from "./support.ts"

const launch = (name: string) =>
  Effect.flatMap(ServerHost, (host) => host.launch({ name, command: ["server"], cwd: "/", env: {} }))

describe("an imagined process", () => {
  it.effect("accepts when its script says so, and answers as it says", () =>
    Effect.gen(function* () {
      const host = yield* ServerHost
      const fake = yield* FakeServerHost
      yield* fake.setScripts(() => ({ acceptsAfterMs: 100 }))
      const { port } = yield* launch("a")
      yield* TestClock.adjust(99)
      assert.strictEqual((yield* host.probe(port, "/", 10))._tag, "Closed")
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* host.probe(port, "/", 10))._tag, "Healthy")
      yield* fake.change("a", { health: "slow" })
      assert.deepStrictEqual(yield* within(10, host.probe(port, "/", 10)), {
        _tag: "Unhealthy",
        detail: "no answer within 10 ms"
      })
      assert.strictEqual((yield* host.probe(port + 1, "/", 10))._tag, "Closed")
    }).pipe(Effect.provide(layerFakeServerHost))
  )

  it.effect("ends by SIGTERM, at the end of the grace where it ignores that, on its own, and with its scope", () =>
    Effect.gen(function* () {
      const fake = yield* FakeServerHost
      yield* fake.setScripts((name) => ({
        stopsAfterMs: name === "stubborn" ? null : 30,
        ...(name === "brief" ? { exit: { afterMs: 50, code: 4 } } : {})
      }))
      const polite = yield* launch("polite")
      const stubborn = yield* launch("stubborn")
      const brief = yield* launch("brief")
      const scope = yield* Scope.make()
      const scoped = yield* Scope.provide(launch("scoped"), scope)
      yield* within(30, polite.stop(1_000))
      assert.strictEqual((yield* polite.exited).code, 0)
      const stopping = yield* Effect.forkChild(stubborn.stop(1_000))
      yield* TestClock.adjust(999)
      assert.strictEqual((yield* brief.exited).code, 4)
      assert.strictEqual(stopping.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(yield* stubborn.exited, { code: 137, signal: "SIGKILL" })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* scoped.exited, { code: 137, signal: "SIGKILL" })
      assert.deepStrictEqual(yield* fake.live, [])
      // To stop what has ended does nothing.
      yield* polite.stop(1_000)
      assert.deepStrictEqual(
        (yield* fake.stops).map(({ name }) => name),
        ["polite", "stubborn"]
      )
    }).pipe(Effect.provide(layerFakeServerHost))
  )

  it.effect("is counted under its name: two of one project at the same time are seen, also by a new name", () =>
    Effect.gen(function* () {
      const fake = yield* FakeServerHost
      const first = yield* launch("a")
      yield* within(10, first.stop(100))
      yield* launch("a")
      assert.strictEqual(yield* fake.maxLivePerName, 1)
      const warm = yield* launch("warm-1")
      yield* warm.rename("a")
      assert.strictEqual(yield* fake.maxLivePerName, 2)
      assert.strictEqual(yield* fake.maxLive, 2)
    }).pipe(Effect.provide(layerFakeServerHost))
  )
})
