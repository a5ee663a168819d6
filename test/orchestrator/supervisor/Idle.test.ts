import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { enter, id, iso, layer, Plans, request, served, startMs, stateOf, statusOf } from "./support.ts"

const idleMs = 300_000

const liveCount = Effect.map(
  Effect.flatMap(FakeServerHost, ({ live }) => live),
  (live) => live.length
)

/** The child's own token, as its environment tells it. */
const tokenOf = Effect.fnUntraced(function* (project: string) {
  const launches = yield* (yield* FakeServerHost).launches
  return launches.findLast(({ name }) => name === project)?.launch.env["VALET_KEEP_AWAKE_TOKEN"] ?? ""
})

describe("idle time", () => {
  it.effect("starts when the last of several uses ends, and stops the server after 300 s by default", () =>
    Effect.gen(function* () {
      const first = yield* served("a", { kind: "connection" })
      const second = yield* served("a")
      yield* TestClock.adjust(idleMs * 2)
      yield* first.leave
      yield* TestClock.adjust(idleMs * 2)
      assert.strictEqual(yield* stateOf("a"), "running")
      yield* second.leave
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(idleMs - 1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      yield* TestClock.adjust(10)
      assert.strictEqual(yield* stateOf("a"), null)
      assert.strictEqual(yield* liveCount, 0)
      const { stops } = yield* FakeServerHost
      assert.deepStrictEqual(
        (yield* stops).map(({ graceMs }) => graceMs),
        [10_000]
      )
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is restarted by a request and by a ping", () =>
    Effect.gen(function* () {
      const { ping } = yield* Supervisor
      yield* request("a")
      yield* TestClock.adjust(idleMs - 1_000)
      yield* request("a")
      yield* TestClock.adjust(idleMs - 1_000)
      assert.strictEqual(yield* ping(id("a")), true)
      yield* TestClock.adjust(idleMs - 1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      assert.strictEqual(yield* ping(id("a")), false)
      assert.strictEqual(yield* ping(id("b")), false)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is told in the status", () =>
    Effect.gen(function* () {
      yield* request("a")
      const now = yield* Clock.currentTimeMillis
      const status = yield* statusOf("a")
      assert.strictEqual(status?.idle_since, iso(now))
      assert.strictEqual(status?.stops_at, iso(now + idleMs))
      assert.deepStrictEqual(status?.awake_because, [])
      yield* served("a", { kind: "connection" })
      yield* served("a", { kind: "connection" })
      yield* served("a")
      const awake = yield* statusOf("a")
      assert.strictEqual(awake?.idle_since, null)
      assert.strictEqual(awake?.stops_at, null)
      assert.deepStrictEqual(awake?.awake_because, ["2 connections", "1 request"])
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is the project's own where its plan says so, and 0 never ends", () =>
    Effect.gen(function* () {
      const plans = yield* Plans
      yield* plans.set(id("short"), { idleTimeoutMs: 1_000 })
      yield* plans.set(id("ever"), { idleTimeoutMs: 0 })
      yield* request("short")
      yield* request("ever")
      yield* TestClock.adjust(1_010)
      assert.strictEqual(yield* stateOf("short"), null)
      yield* TestClock.adjust(100 * idleMs)
      assert.strictEqual(yield* stateOf("ever"), "idle")
      assert.strictEqual((yield* statusOf("ever"))?.stops_at, null)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("changes at once when the plan is read again", () =>
    Effect.gen(function* () {
      const { reload } = yield* Supervisor
      const plans = yield* Plans
      yield* request("a")
      yield* plans.set(id("a"), { idleTimeoutMs: 5_000 })
      yield* reload(id("a"))
      yield* TestClock.adjust(4_999)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("runs although every client went away before the server was ready", () =>
    Effect.gen(function* () {
      const client = yield* enter("a")
      yield* client.leave
      client.fiber.interruptUnsafe()
      yield* TestClock.adjust(startMs)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(idleMs + 10)
      assert.strictEqual(yield* stateOf("a"), null)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is over, and yet a use in the same moment is served by the same process or by the next one", () =>
    Effect.gen(function* () {
      // At each millisecond around the expiry.
      for (const offset of [-2, -1, 0, 1, 2, 9, 10, 11]) {
        const project = `p${offset + 10}`
        yield* request(project)
        yield* TestClock.adjust(idleMs + offset)
        const client = yield* served(project, { kind: "connection" })
        const { live, stops } = yield* FakeServerHost
        assert.include(
          (yield* live).map(({ pid }) => pid),
          client.target.pid,
          `offset ${offset}`
        )
        assert.notInclude(
          (yield* stops).map(({ pid }) => pid),
          client.target.pid
        )
        yield* client.leave
      }
      assert.strictEqual(yield* (yield* FakeServerHost).maxLivePerName, 1)
    }).pipe(Effect.provide(layer()))
  )
})

describe("busy lease", () => {
  it.effect("keeps a server awake until it expires; then the idle time runs from the expiry", () =>
    Effect.gen(function* () {
      const { keepAwake } = yield* Supervisor
      yield* request("a")
      yield* keepAwake(yield* tokenOf("a"), 1_000, "reindex")
      const until = iso((yield* Clock.currentTimeMillis) + 1_000_000)
      assert.deepStrictEqual((yield* statusOf("a"))?.awake_because, [`busy until ${until}: reindex`])
      yield* TestClock.adjust(999_999)
      assert.strictEqual(yield* stateOf("a"), "running")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      assert.strictEqual((yield* statusOf("a"))?.idle_since, until)
      yield* TestClock.adjust(idleMs - 1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(11)
      assert.strictEqual(yield* stateOf("a"), null)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is replaced by a later one, also by a shorter one", () =>
    Effect.gen(function* () {
      const { keepAwake } = yield* Supervisor
      yield* request("a")
      const token = yield* tokenOf("a")
      yield* keepAwake(token, 3_600, "long")
      yield* TestClock.adjust(1_000)
      yield* keepAwake(token, 10, "short")
      yield* TestClock.adjust(10_000)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(idleMs)
      assert.strictEqual(yield* stateOf("a"), "stopping")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("ends with 0, and the idle time runs from then", () =>
    Effect.gen(function* () {
      const { keepAwake } = yield* Supervisor
      yield* request("a")
      const token = yield* tokenOf("a")
      yield* keepAwake(token, 3_600, "long")
      yield* TestClock.adjust(idleMs * 2)
      yield* keepAwake(token, 0, "")
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(idleMs - 1)
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is only for the process whose token it is, and ends with it", () =>
    Effect.gen(function* () {
      const { keepAwake, stop } = yield* Supervisor
      yield* request("a")
      yield* request("b")
      const token = yield* tokenOf("a")
      assert.match(token, /^[A-Za-z0-9_-]{43}$/)
      assert.notStrictEqual(token, yield* tokenOf("b"))
      for (const wrong of ["", `${token}x`, token.slice(1), token.toUpperCase()]) {
        assert.strictEqual((yield* Effect.flip(keepAwake(wrong, 10, ""))).detail, "no running server has this token")
      }
      yield* keepAwake(token, 3_600, "mine")
      assert.strictEqual(yield* stateOf("b"), "idle")
      const stopped = yield* Effect.forkChild(stop(id("a")))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      yield* Effect.flip(keepAwake(token, 10, "while it stops"))
      yield* TestClock.adjust(9)
      yield* Fiber.join(stopped)
      yield* Effect.flip(keepAwake(token, 10, "after its end"))
      yield* request("a")
      assert.strictEqual(yield* stateOf("a"), "idle")
      yield* Effect.flip(keepAwake(token, 10, "of its predecessor"))
      assert.notStrictEqual(yield* tokenOf("a"), token)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("may begin before the server is ready", () =>
    Effect.gen(function* () {
      const { keepAwake } = yield* Supervisor
      yield* (yield* FakeServerHost).setScripts(() => ({ acceptsAfterMs: 1_000 }))
      const client = yield* enter("a")
      yield* TestClock.adjust(500)
      yield* keepAwake(yield* tokenOf("a"), 60, "migrates")
      yield* client.leave
      yield* TestClock.adjust(1_000)
      assert.strictEqual(yield* stateOf("a"), "running")
      yield* TestClock.adjust(60_000)
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )
})
