import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { Starter } from "../../../src/orchestrator/Starter.ts"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { enter, id, iso, layer, refusal, request, served, startMs, stateOf, statusOf, within } from "./support.ts"

const launchTimes = Effect.map(
  Effect.flatMap(FakeServerHost, ({ launches }) => launches),
  (launches) => launches.map(({ launchedAt }) => launchedAt)
)

const gaps = (times: ReadonlyArray<number>) => times.slice(1).map((at, i) => at - (times[i] ?? 0))

describe("crashes", () => {
  it.effect("of a server in use: started again at once, then after 1, 2 and 4 s; the fifth in a row fails it", () =>
    Effect.gen(function* () {
      const { totals } = yield* Supervisor
      const host = yield* FakeServerHost
      // Each one dies 10 ms after it is ready.
      yield* host.setScripts(() => ({ exit: { afterMs: 60, code: 3 }, output: ["panic: no"] }))
      yield* enter("a", { kind: "connection" })
      yield* TestClock.adjust(20_000)
      assert.deepStrictEqual(gaps(yield* launchTimes), [60, 1_060, 2_060, 4_060])
      const status = yield* statusOf("a")
      assert.strictEqual(status?.state, "failed")
      assert.strictEqual(status?.restarts, 4)
      assert.strictEqual(status?.last_error, "exited with code 3")
      assert.deepStrictEqual(status?.last_output, ["panic: no"])
      assert.strictEqual((yield* totals).crashes, 5)
      assert.strictEqual((yield* totals).spawns, 5)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("that failed it: refused at once for 60 s with its last output, then a request tries once more", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* host.setScripts((_name, nth) =>
        nth <= 6 ? { exit: { afterMs: 60, code: 1 }, output: [`try ${nth}`] } : {}
      )
      yield* enter("a", { kind: "connection" })
      yield* TestClock.adjust(7_300)
      const failedAt = (yield* launchTimes)[4] ?? 0
      assert.strictEqual((yield* statusOf("a"))?.retry_at, iso(failedAt + 60 + 60_000))
      const refused = yield* refusal(yield* enter("a"))
      assert.strictEqual(refused.reason, "failed")
      assert.deepStrictEqual(refused.output, ["try 5"])
      const now = yield* Clock.currentTimeMillis
      assert.strictEqual(refused.retryAfterSeconds, Math.ceil((failedAt + 60_060 - now) / 1_000))
      yield* TestClock.adjust(failedAt + 60_060 - now - 1)
      assert.strictEqual((yield* refusal(yield* enter("a"))).retryAfterSeconds, 1)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* launchTimes).length, 5)
      // It runs for 10 ms, and that one crash fails it again.
      yield* served("a")
      assert.strictEqual((yield* launchTimes).length, 6)
      assert.strictEqual(yield* stateOf("a"), "failed")
      yield* TestClock.adjust(60_000)
      yield* request("a")
      assert.strictEqual(yield* stateOf("a"), "running")
      assert.strictEqual((yield* launchTimes).length, 7)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("are forgotten after a minute of running", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const client = yield* served("a", { kind: "connection" })
      for (const ranMs of [1_000, 61_000, 1_000]) {
        yield* TestClock.adjust(ranMs)
        yield* host.exit("a", 1)
        yield* TestClock.adjust(startMs)
        // The first crash after a long run costs no wait, like the first of all.
        assert.strictEqual(
          yield* stateOf("a"),
          ranMs === 1_000 && (yield* launchTimes).length === 3 ? "backoff" : "running"
        )
      }
      yield* client.leave
    }).pipe(Effect.provide(layer()))
  )

  it.effect("of a server that nobody uses: it stays away, and a request in its back-off waits for its end", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* request("a")
      yield* host.exit("a", 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "backoff")
      yield* request("a")
      const crashedAt = yield* Clock.currentTimeMillis
      yield* host.exit("a", 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "backoff")
      assert.strictEqual((yield* statusOf("a"))?.retry_at, iso(crashedAt + 1_000))
      const client = yield* enter("a")
      yield* TestClock.adjust(998)
      assert.strictEqual((yield* launchTimes).length, 2)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* launchTimes).at(-1), crashedAt + 1_000)
      yield* TestClock.adjust(startMs)
      yield* Fiber.join(client.fiber)
      yield* client.leave
      // Nobody comes in the third one's back-off, nor in the minute after it: nothing was started.
      yield* host.exit("a", 1)
      yield* TestClock.adjust(61_999)
      assert.strictEqual(yield* stateOf("a"), "backoff")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), null)
      assert.strictEqual((yield* launchTimes).length, 3)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("are none where a server ends with 0 while nobody uses it; in use they are", () =>
    Effect.gen(function* () {
      const { totals } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* request("a")
      for (let round = 0; round < 6; round++) {
        yield* host.exit("a", 0)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* stateOf("a"), null)
        yield* request("a")
      }
      assert.strictEqual((yield* totals).crashes, 0)
      yield* served("a", { kind: "connection" })
      yield* host.exit("a", 0)
      yield* TestClock.adjust(startMs)
      assert.strictEqual((yield* totals).crashes, 1)
      assert.strictEqual(yield* stateOf("a"), "running")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("leave no lease to the next process", () =>
    Effect.gen(function* () {
      const { keepAwake } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* request("a")
      const [first] = yield* host.launches
      yield* keepAwake(first?.launch.env["VALET_KEEP_AWAKE_TOKEN"] ?? "", 3_600, "busy")
      yield* host.exit("a", 1)
      yield* TestClock.adjust(startMs)
      // Started again, because the lease had it in use.
      assert.strictEqual((yield* host.launches).length, 2)
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )
})

/** Its leader ends 50 ms after its start; what it had started needs 500 ms from SIGTERM on. */
const layerLeaves = Layer.succeed(Starter, {
  start: () =>
    Effect.map(Effect.forkScoped(Effect.sleep(50), { startImmediately: true }), (leader) => ({
      process: {
        pid: 1,
        port: 1,
        exited: Effect.as(Fiber.join(leader), { code: 1, signal: null }),
        output: Effect.succeed([]),
        written: Effect.succeed(Effect.never),
        memory: Effect.succeed(null),
        stop: () => Effect.sleep(500),
        rename: () => Effect.void
      },
      warm: false,
      hasHealthPath: false
    }))
})

describe("a server that ends by itself and leaves others of its group", () => {
  it.effect("has none of its project beside it until they had their grace", () =>
    Effect.gen(function* () {
      const client = yield* enter("a", { kind: "connection" })
      yield* TestClock.adjust(50 + 499)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), "running")
      assert.strictEqual((yield* statusOf("a"))?.restarts, 1)
      yield* client.leave
    }).pipe(Effect.provide(layer({}, layerLeaves)))
  )
})

describe("a start that fails", () => {
  it.effect("fails all that wait for it with what it wrote, and counts as a crash", () =>
    Effect.gen(function* () {
      const { totals } = yield* Supervisor
      yield* (yield* FakeServerHost).setScripts(() => ({ acceptsAfterMs: null, output: ["waiting for a lock"] }))
      const clients = yield* Effect.forEach([1, 2, 3], () => enter("a"))
      yield* TestClock.adjust(29_999)
      assert.isTrue(clients.every(({ fiber }) => fiber.pollUnsafe() === undefined))
      yield* TestClock.adjust(1)
      for (const client of clients) {
        const { reason, detail, output, retryAfterSeconds } = yield* refusal(client)
        assert.deepStrictEqual(
          { reason, detail, output, retryAfterSeconds },
          {
            reason: "failed",
            detail: "not ready within 30000 ms",
            output: ["waiting for a lock"],
            retryAfterSeconds: 1
          }
        )
      }
      assert.strictEqual((yield* totals).refused, 3)
      assert.strictEqual((yield* totals).crashes, 1)
      assert.strictEqual((yield* launchTimes).length, 1)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is shown with its error for a minute after its back-off; a request in that time tries again at once", () =>
    Effect.gen(function* () {
      yield* (yield* FakeServerHost).setScripts((_name, nth) => (nth <= 3 ? { launchError: "ENOENT server" } : {}))
      yield* enter("a")
      yield* TestClock.adjust(59_999)
      const shown = yield* statusOf("a")
      assert.deepStrictEqual([shown?.state, shown?.last_error], ["backoff", "ENOENT server"])
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), null)
      // Its second failure in a row has a back-off of 1 s, in which who comes is let wait.
      yield* enter("a")
      yield* TestClock.adjust(60_999)
      assert.strictEqual((yield* statusOf("a"))?.last_error, "ENOENT server")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf("a"), null)
      yield* enter("a")
      yield* TestClock.adjust(30_000)
      assert.strictEqual(yield* stateOf("a"), "backoff")
      yield* request("a")
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("five times in a row fails the project", () =>
    Effect.gen(function* () {
      yield* (yield* FakeServerHost).setScripts(() => ({ launchError: "ENOENT server" }))
      for (let round = 0; round < 5; round++) {
        const client = yield* enter("a")
        yield* TestClock.adjust(startMs)
        yield* TestClock.adjust(5_000)
        assert.strictEqual((yield* refusal(client)).detail, "ENOENT server")
      }
      assert.strictEqual(yield* stateOf("a"), "failed")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is forgotten by restart, which tries at once", () =>
    Effect.gen(function* () {
      const { restart } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* host.setScripts((_name, nth) => (nth <= 6 ? { launchError: "ENOENT server" } : {}))
      for (let round = 0; round < 5; round++) {
        yield* enter("a")
        yield* TestClock.adjust(5_000)
      }
      assert.strictEqual(yield* stateOf("a"), "failed")
      assert.strictEqual(yield* within(0, restart(id("a"))), true)
      yield* TestClock.adjust(10)
      // One more failure is the first of a new row.
      assert.strictEqual(yield* stateOf("a"), "backoff")
      yield* request("a")
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )
})
