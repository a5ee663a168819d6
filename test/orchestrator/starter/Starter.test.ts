/** From a launch to a server that answers, on the test clock. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Readiness from "../../../src/orchestrator/Readiness.ts"
import type { Probe, ServerHost, ServerProcess } from "../../../src/orchestrator/ServerHost.ts"
import { Starter } from "../../../src/orchestrator/Starter.ts"
import { FakeServerHost, type FakeScript } from "../../../src/testing/FakeServerHost.ts"
import { layerImagined, pass, plan } from "./support.ts"

const script = (it: FakeScript) => Effect.flatMap(FakeServerHost, ({ setScripts }) => setScripts(() => it))

/** Begun, with the time at which it was over. */
const begin = Effect.gen(function* () {
  const { start } = yield* Starter
  return yield* start(plan("red"), { EXTRA: "1" }).pipe(
    Effect.exit,
    Effect.zipWith(Clock.currentTimeMillis, (exit, at) => ({ exit, at })),
    Effect.forkChild({ startImmediately: true })
  )
})

const finish = Effect.fnUntraced(function* (ms: number) {
  const fiber = yield* begin
  yield* pass(ms, 10)
  return yield* Fiber.join(fiber)
})

const failureOf = Effect.fnUntraced(function* (ms: number) {
  const { exit, at } = yield* finish(ms)
  return { failure: yield* Effect.flip(exit), at }
})

const isPending = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined

describe("a start", () => {
  it.effect("runs the plan's command with both environments, and is over soon after the port answers", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* script({ acceptsAfterMs: 1_000 })
      const { exit, at } = yield* finish(1_200)
      const started = yield* exit
      assert.isTrue(started.hasHealthPath)
      assert.isFalse(started.warm)
      assert.isUndefined(started.keepAwakeToken)
      assert.isAtMost(at, 1_100)
      const launches = yield* host.launches
      assert.deepStrictEqual(
        launches.map(({ launch }) => launch),
        [{ name: "red", command: ["own-server"], cwd: "/", env: { PROJECT_ID: "red", EXTRA: "1" } }]
      )
      assert.deepStrictEqual(
        (yield* host.live).map(({ pid }) => pid),
        [started.process.pid]
      )
    }).pipe(Effect.provide(layerImagined()))
  )

  it.effect("is over when the port accepts, where there is no health path", () =>
    Effect.gen(function* () {
      yield* script({ acceptsAfterMs: 100, health: "listening" })
      const { exit } = yield* finish(200)
      assert.isFalse((yield* exit).hasHealthPath)
    }).pipe(Effect.provide(layerImagined()))
  )

  for (const health of ["unhealthy", "slow", "closed"] as const) {
    it.effect(`waits for a server that is ${health} until it is healthy`, () =>
      Effect.gen(function* () {
        const host = yield* FakeServerHost
        yield* script({ acceptsAfterMs: 0, health })
        const fiber = yield* begin
        yield* pass(12_000)
        assert.isTrue(isPending(fiber))
        yield* host.change("red", { health: "healthy" })
        yield* pass(5_100)
        const { exit } = yield* Fiber.join(fiber)
        assert.isTrue((yield* exit).hasHealthPath)
      }).pipe(Effect.provide(layerImagined()))
    )
  }

  it.effect("fails at once when the server ends, with its code and its last lines", () =>
    Effect.gen(function* () {
      yield* script({ acceptsAfterMs: null, exit: { afterMs: 500, code: 7 }, output: ["a", "no such file"] })
      const { failure, at } = yield* failureOf(600)
      assert.strictEqual(failure.reason, "exited")
      assert.include(failure.message, "code 7")
      assert.deepStrictEqual(failure.output, ["a", "no such file"])
      assert.strictEqual(at, 500)
    }).pipe(Effect.provide(layerImagined()))
  )

  it.effect("fails after the spawn timeout, once the server is gone, with its last lines and what was wrong", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* script({ acceptsAfterMs: 0, health: "unhealthy", stopsAfterMs: null, output: ["loading"] })
      const fiber = yield* begin
      yield* pass(31_990)
      assert.isTrue(isPending(fiber))
      yield* pass(10)
      const { exit, at } = yield* Fiber.join(fiber)
      const failure = yield* Effect.flip(exit)
      assert.strictEqual(failure.reason, "timeout")
      assert.include(failure.message, "answered 503")
      assert.deepStrictEqual(failure.output, ["loading"])
      // SIGTERM at 30 s, and SIGKILL after a grace of 2 s, though others have 10.
      assert.strictEqual(at, 32_000)
      assert.deepStrictEqual(
        (yield* host.stops).map(({ at, graceMs }) => [at, graceMs]),
        [[30_000, 2_000]]
      )
      assert.isEmpty(yield* host.live)
    }).pipe(Effect.provide(layerImagined()))
  )

  it.effect("gives no longer grace than is configured", () =>
    Effect.gen(function* () {
      yield* script({ acceptsAfterMs: null, stopsAfterMs: null })
      const { failure, at } = yield* failureOf(1_300)
      assert.include(failure.message, "nobody accepts")
      assert.strictEqual(at, 1_200)
    }).pipe(Effect.provide(layerImagined({ spawnTimeoutMs: 1_000, stopGraceMs: 200 })))
  )

  it.effect("ends what it launched when it is interrupted", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* script({ acceptsAfterMs: null, stopsAfterMs: 100 })
      const fiber = yield* begin
      yield* pass(1_000)
      assert.lengthOf(yield* host.live, 1)
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* pass(100)
      yield* Fiber.join(interruption)
      assert.deepStrictEqual(
        (yield* host.stops).map(({ at }) => at),
        [1_000]
      )
      assert.isEmpty(yield* host.live)
    }).pipe(Effect.provide(layerImagined()))
  )

  it.effect("that can't be launched says why", () =>
    Effect.gen(function* () {
      yield* script({ launchError: "no such program" })
      const { failure } = yield* failureOf(10)
      assert.strictEqual(failure.reason, "launch")
      assert.include(failure.message, "no such program")
    }).pipe(Effect.provide(layerImagined()))
  )

  it.effect("gives a server that ends with the scope", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const { start } = yield* Starter
      const scope = yield* Scope.make()
      yield* script({ acceptsAfterMs: 0 })
      yield* Scope.provide(start(plan("red"), {}), scope)
      assert.lengthOf(yield* host.live, 1)
      yield* Scope.close(scope, Exit.void)
      assert.isEmpty(yield* host.live)
    }).pipe(Effect.provide(layerImagined()))
  )
})

describe("the probes of a start", () => {
  const server: ServerProcess = {
    pid: 1,
    port: 1,
    exited: Effect.never,
    output: Effect.succeed([]),
    written: Effect.succeed(Effect.never),
    memory: Effect.succeed(null),
    stop: () => Effect.void,
    rename: () => Effect.void
  }

  for (const [what, writesAfterMs] of Object.entries({ "as it listens": 5_037, "before it listens": 4_900 })) {
    it.effect(`are one more when the server writes something ${what}`, () =>
      Effect.gen(function* () {
        yield* script({ acceptsAfterMs: 5_037, writesAfterMs })
        const fiber = yield* begin
        yield* pass(5_600, 1)
        const { at, exit } = yield* Fiber.join(fiber)
        assert.isTrue(Exit.isSuccess(exit))
        if (writesAfterMs === 5_037) assert.strictEqual(at, 5_037)
        else assert.isTrue(at > 5_037 && at <= 5_537, `${at} ms`)
      }).pipe(Effect.provide(layerImagined()))
    )
  }

  it.effect("of a server that writes without end don't crowd it", () =>
    Effect.gen(function* () {
      let probes = 0
      const host: ServerHost["Service"] = {
        launch: () => Effect.succeed(server),
        probe: () =>
          Effect.sync((): Probe => {
            probes++
            return { _tag: "Closed" }
          })
      }
      const talking = { ...server, written: Effect.succeed(Effect.sleep(1)) }
      const fiber = yield* Effect.forkChild(Effect.flip(Readiness.awaitReady(host, talking, "/health", 1_000)), {
        startImmediately: true
      })
      yield* pass(1_000, 1)
      yield* Fiber.join(fiber)
      assert.isAtMost(probes, 1_000 / 20 + 30)
    })
  )

  it.effect("come densely at first, at most half a second apart, and don't crowd a slow server", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const host: ServerHost["Service"] = {
        launch: () => Effect.succeed(server),
        probe: () =>
          Effect.map(Clock.currentTimeMillis, (now): Probe => {
            times.push(now)
            return { _tag: "Closed" }
          })
      }
      const fiber = yield* Effect.forkChild(Effect.flip(Readiness.awaitReady(host, server, "/health", 10_000)), {
        startImmediately: true
      })
      yield* pass(10_000, 1)
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "timeout")
      const gaps = times.slice(1).map((time, i) => ({ at: times[i] ?? 0, gap: time - (times[i] ?? 0) }))
      for (const { at, gap } of gaps) assert.isAtMost(gap, Math.min(501, 12 + at / 9), `after ${at} ms`)
      assert.isAtMost(times.filter((time) => time <= 1_000).length, 30)
      assert.isAtMost(times.length, 65)
    })
  )
})
