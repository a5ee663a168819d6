/** The clock on the wall is set while servers run, as after a boot without a network. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { enter, iso, keepAwakeUrl, layer, refusal, request, served, startMs, stateOf, statusOf } from "./support.ts"

const hourMs = 3_600_000

class Wall extends Context.Service<Wall, { step(ms: number): Effect.Effect<void> }>()("test/Wall") {}

/** The test's clock, whose wall time alone can be set. */
const layerWall = Layer.effectContext(
  Effect.map(Clock.Clock, (clock) => {
    let stepMs = 0
    const millis = () => clock.currentTimeMillisUnsafe() + stepMs
    const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(stepMs) * 1_000_000n
    const stepped: Clock.Clock = {
      ...clock,
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos)
    }
    return Context.make(Clock.Clock, stepped).pipe(
      Context.add(Wall, { step: (ms) => Effect.sync(() => void (stepMs += ms)) })
    )
  })
)

const step = (ms: number) => Effect.flatMap(Wall, (wall) => wall.step(ms))

/** Imagined servers follow the clock on the wall: their health is not asked. */
const rareMs = 1_000_000_000

const test = (title: string, body: Effect.Effect<void, unknown, Supervisor | FakeServerHost | Wall>) =>
  it.effect(title, () =>
    body.pipe(Effect.provide(layer({ healthCheckIntervalMs: rareMs }).pipe(Layer.provideMerge(layerWall))))
  )

describe.each([-hourMs, hourMs])("the clock set by %i ms", (ms) => {
  test(
    "changes no idle time, and the status tells times of the clock as it is",
    Effect.gen(function* () {
      yield* request("a")
      yield* step(ms)
      yield* TestClock.adjust(300_000 - 1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      const now = yield* Clock.currentTimeMillis
      assert.strictEqual((yield* statusOf("a"))?.stops_at, iso(now + 1))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
    })
  )

  test(
    "changes no lease",
    Effect.gen(function* () {
      yield* request("a")
      const [launch] = yield* (yield* FakeServerHost).launches
      const token = launch?.launch.env["VALET_KEEP_AWAKE_TOKEN"] ?? ""
      assert.strictEqual(launch?.launch.env["VALET_KEEP_AWAKE_URL"], keepAwakeUrl)
      yield* (yield* Supervisor).keepAwake(token, 1_800, "report")
      yield* step(ms)
      yield* TestClock.adjust(1_800_000 - 1)
      assert.strictEqual(yield* stateOf("a"), "running")
      yield* TestClock.adjust(1 + 300_000)
      assert.strictEqual(yield* stateOf("a"), "stopping")
    })
  )

  test(
    "changes no back-off of a project that failed",
    Effect.gen(function* () {
      yield* (yield* FakeServerHost).setScripts((_name, nth) => (nth <= 5 ? { exit: { afterMs: 60, code: 1 } } : {}))
      yield* enter("a", { kind: "connection" })
      yield* TestClock.adjust(20_000)
      assert.strictEqual(yield* stateOf("a"), "failed")
      yield* step(ms)
      assert.isAtMost((yield* refusal(yield* enter("a"))).retryAfterSeconds, 60)
      yield* TestClock.adjust(60_000)
      yield* served("a")
      yield* TestClock.adjust(startMs)
      assert.strictEqual(yield* stateOf("a"), "running")
    })
  )
})
