import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { initial, judge, verdict } from "../../../src/orchestrator/supervisor/Health.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { id, layer, Plans, served, startMs, stateOf, statusOf } from "./support.ts"

const launched = Effect.map(
  Effect.flatMap(FakeServerHost, ({ launches }) => launches),
  (launches) => launches.length
)
const megabyte = 1024 * 1024

describe("health", () => {
  it.effect("three misses in a row: a server in use is replaced at once", () =>
    Effect.gen(function* () {
      const { totals } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* served("a", { kind: "connection" })
      yield* host.change("a", { health: "unhealthy" })
      yield* TestClock.adjust(44_000)
      const sick = yield* statusOf("a")
      assert.strictEqual(sick?.health.status, "unhealthy")
      assert.strictEqual(sick?.health.misses, 2)
      assert.strictEqual(sick?.health.detail, "answered 503")
      assert.strictEqual(yield* launched, 1)
      yield* TestClock.adjust(1_000 + startMs)
      assert.strictEqual(yield* launched, 2)
      assert.strictEqual((yield* totals).replaced, 1)
      assert.strictEqual((yield* totals).crashes, 0)
      assert.strictEqual((yield* totals).stops, 0)
      const status = yield* statusOf("a")
      assert.strictEqual(status?.state, "running")
      assert.strictEqual(status?.restarts, 1)
      assert.strictEqual(status?.last_error, "failed 3 health checks: answered 503")
      assert.strictEqual(status?.health.status, "unknown")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("three misses of a server that nobody uses: it is gone, and not started again", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const client = yield* served("a")
      yield* client.leave
      yield* host.change("a", { health: "closed" })
      yield* TestClock.adjust(45_100)
      assert.strictEqual(yield* stateOf("a"), null)
      assert.strictEqual(yield* launched, 1)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("two slow answers and a good one: not replaced, however often", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* served("a", { kind: "connection" })
      const missed = (misses: number) =>
        TestClock.adjust(1_000).pipe(
          Effect.andThen(statusOf("a")),
          Effect.repeat({ until: (status) => status?.health.misses === misses, times: 60 }),
          Effect.tap((status) => Effect.sync(() => assert.strictEqual(status?.health.misses, misses)))
        )
      for (let round = 0; round < 5; round++) {
        yield* host.change("a", { health: "slow" })
        yield* missed(2)
        yield* host.change("a", { health: "healthy" })
        yield* missed(0)
      }
      assert.strictEqual(yield* launched, 1)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("memory above the plan's limit: replaced, and the status says why", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* (yield* Plans).set(id("a"), { maxMemoryMb: 100 })
      yield* served("a", { kind: "connection" })
      yield* host.change("a", { memoryBytes: 100 * megabyte })
      yield* TestClock.adjust(60_000)
      assert.strictEqual(yield* launched, 1)
      assert.strictEqual((yield* statusOf("a"))?.memory_bytes, 100 * megabyte)
      yield* host.change("a", { memoryBytes: 100 * megabyte + 1 })
      yield* TestClock.adjust(15_100)
      assert.strictEqual(yield* launched, 2)
      assert.strictEqual((yield* statusOf("a"))?.last_error, "used 101 MB of memory, 100 are allowed")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("of a server that ignores SIGTERM: its successor starts only after it is killed", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* host.setScripts((_name, nth) => (nth === 1 ? { stopsAfterMs: null } : {}))
      yield* served("a", { kind: "connection" })
      yield* host.change("a", { health: "closed" })
      yield* TestClock.adjust(45_000 + 9_000)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      assert.strictEqual(yield* launched, 1)
      yield* TestClock.adjust(1_000 + startMs)
      assert.strictEqual(yield* launched, 2)
      assert.strictEqual(yield* stateOf("a"), "running")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("without a health path a server only has to accept", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* host.setScripts(() => ({ health: "listening" }))
      yield* served("a", { kind: "connection" })
      for (const health of ["listening", "unhealthy", "slow"] as const) {
        yield* host.change("a", { health })
        yield* TestClock.adjust(120_000)
      }
      assert.strictEqual(yield* launched, 1)
      yield* host.change("a", { health: "closed" })
      yield* TestClock.adjust(50_000)
      assert.strictEqual(yield* launched, 2)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("a plan with another health path that the server has not: no reason to replace it", () =>
    Effect.gen(function* () {
      const { reload } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* served("a", { kind: "connection" })
      yield* (yield* Plans).set(id("a"), { healthPath: "/live" })
      yield* host.change("a", { health: "listening" })
      yield* reload(id("a"))
      yield* TestClock.adjust(120_000)
      assert.strictEqual(yield* launched, 1)
    }).pipe(Effect.provide(layer()))
  )
})

describe("judge", () => {
  const unhealthy = { _tag: "Unhealthy", detail: "answered 500" } as const
  const cases = [
    { hasPath: true, probe: { _tag: "Healthy" }, misses: 0, learned: true },
    { hasPath: true, probe: { _tag: "Listening" }, misses: 3, learned: true },
    { hasPath: true, probe: { _tag: "Closed" }, misses: 3, learned: true },
    { hasPath: true, probe: unhealthy, misses: 3, learned: true },
    { hasPath: false, probe: { _tag: "Healthy" }, misses: 0, learned: false },
    { hasPath: false, probe: { _tag: "Listening" }, misses: 0, learned: false },
    { hasPath: false, probe: unhealthy, misses: 0, learned: false },
    { hasPath: false, probe: { _tag: "Closed" }, misses: 3, learned: false },
    { hasPath: null, probe: { _tag: "Healthy" }, misses: 0, learned: true },
    { hasPath: null, probe: { _tag: "Listening" }, misses: 0, learned: false },
    { hasPath: null, probe: unhealthy, misses: 3, learned: true },
    { hasPath: null, probe: { _tag: "Closed" }, misses: 3, learned: null }
  ] as const
  it.each(cases)("$probe._tag where the health path is there: $hasPath", ({ hasPath, probe, misses, learned }) => {
    const health = judge({ ...initial(true), misses: 2, hasPath }, probe, null, 1)
    assert.strictEqual(health.misses, misses)
    assert.strictEqual(health.hasPath, learned)
    assert.strictEqual(verdict(health, null) === null, misses < 3)
  })
})
