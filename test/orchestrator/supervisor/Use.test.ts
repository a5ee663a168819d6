import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { NoPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { ServerHost } from "../../../src/orchestrator/ServerHost.ts"
import { Starter, StartFailed } from "../../../src/orchestrator/Starter.ts"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import {
  enter,
  id,
  keepAwakeUrl,
  layer,
  Plans,
  refusal,
  request,
  served,
  startMs,
  stateOf,
  statusOf,
  within
} from "./support.ts"

const layerWarmStarter = Layer.effect(
  Starter,
  Effect.map(ServerHost, (host) =>
    Starter.of({
      start: ({ id, command, cwd }, env) =>
        host.launch({ name: id, command, cwd, env }).pipe(
          Effect.mapError(({ detail }) => new StartFailed({ reason: "launch", detail, output: [] })),
          Effect.map((process) => ({ process, warm: true, hasHealthPath: true, keepAwakeToken: "its own" }))
        )
    })
  )
)

describe("use", () => {
  it.effect("100 at once: one process, and all have it", () =>
    Effect.gen(function* () {
      const clients = yield* Effect.forEach(Array.from({ length: 100 }), (_, i) =>
        enter("a", { kind: i % 2 === 0 ? "request" : "connection" })
      )
      assert.deepStrictEqual((yield* statusOf("a"))?.awake_because, ["100 waiting"])
      yield* TestClock.adjust(startMs)
      const targets = yield* Effect.forEach(clients, ({ fiber }) => Fiber.join(fiber))
      const launches = yield* (yield* FakeServerHost).launches
      assert.strictEqual(launches.length, 1)
      assert.deepStrictEqual([...new Set(targets.map(({ pid }) => pid))], [launches[0]?.pid])
      const status = yield* statusOf("a")
      assert.strictEqual(status?.connections, 50)
      assert.strictEqual(status?.requests, 50)
      assert.deepStrictEqual(status?.awake_because, ["50 connections", "50 requests"])
      yield* Effect.forEach(clients, ({ leave }) => leave)
      // Leaving twice counts once.
      yield* Effect.forEach(clients, ({ leave }) => leave)
      assert.strictEqual((yield* statusOf("a"))?.connections, 0)
      assert.strictEqual(yield* stateOf("a"), "idle")
      const totals = yield* (yield* Supervisor).totals
      assert.strictEqual(totals.spawns, 1)
      assert.strictEqual(totals.requests, 50)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("that is interrupted while it waits, or afterwards: nothing of it is counted", () =>
    Effect.gen(function* () {
      const waiting = yield* Effect.forEach(Array.from({ length: 10 }), () => enter("a", { kind: "connection" }))
      const [stays, ...others] = waiting
      yield* TestClock.adjust(20)
      yield* Effect.forEach(others, ({ fiber }) => Fiber.interrupt(fiber))
      assert.deepStrictEqual((yield* statusOf("a"))?.awake_because, ["1 waiting"])
      yield* TestClock.adjust(startMs)
      assert.strictEqual((yield* statusOf("a"))?.connections, 1)
      // Their scopes close only now.
      yield* Effect.forEach(others, ({ leave }) => leave)
      assert.strictEqual((yield* statusOf("a"))?.connections, 1)
      yield* stays?.leave ?? Effect.void
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("gives the child the keep-awake URL and a token of its own, and the plan's environment", () =>
    Effect.gen(function* () {
      yield* request("a")
      const [launch] = yield* (yield* FakeServerHost).launches
      const { VALET_KEEP_AWAKE_TOKEN, ...env } = launch?.launch.env ?? {}
      assert.deepStrictEqual(env, { PROJECT_ID: "a", VALET_KEEP_AWAKE_URL: keepAwakeUrl })
      assert.strictEqual(Buffer.from(VALET_KEEP_AWAKE_TOKEN ?? "", "base64url").length, 32)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("of a warm server: its own token is the one that counts, and it is a claim, not a spawn", () =>
    Effect.gen(function* () {
      const { keepAwake, totals } = yield* Supervisor
      yield* request("a")
      yield* keepAwake("its own", 10, "busy")
      const [launch] = yield* (yield* FakeServerHost).launches
      yield* Effect.flip(keepAwake(launch?.launch.env["VALET_KEEP_AWAKE_TOKEN"] ?? "", 10, ""))
      const { warmClaims, spawns } = yield* totals
      assert.deepStrictEqual({ warmClaims, spawns }, { warmClaims: 1, spawns: 0 })
      assert.strictEqual((yield* statusOf("a"))?.warm, true)
    }).pipe(Effect.provide(layer({}, layerWarmStarter)))
  )

  it.effect("of a project that may have no server, or whose plan can't be used: refused, and nothing is left", () =>
    Effect.gen(function* () {
      const plans = yield* Plans
      for (const reason of ["forbidden", "invalid"] as const) {
        yield* plans.refuse(id(reason), new NoPlan({ reason, detail: `it is ${reason}` }))
        const client = yield* enter(reason)
        yield* TestClock.adjust(1)
        const error = yield* refusal(client)
        assert.strictEqual(error.reason, reason)
        assert.strictEqual(error.detail, `it is ${reason}`)
        assert.isFalse(error.retryable)
      }
      assert.deepStrictEqual(yield* (yield* Supervisor).status, [])
      assert.strictEqual((yield* (yield* Supervisor).totals).refused, 2)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("that comes while the server stops waits until it is gone, and gets the next one", () =>
    Effect.gen(function* () {
      const { stop } = yield* Supervisor
      yield* (yield* FakeServerHost).setScripts((_name, nth) => (nth === 1 ? { stopsAfterMs: null } : {}))
      yield* request("a")
      yield* Effect.forkChild(stop(id("a")))
      yield* TestClock.adjust(1)
      const client = yield* enter("a")
      yield* TestClock.adjust(9_000)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      assert.strictEqual((yield* (yield* FakeServerHost).launches).length, 1)
      yield* TestClock.adjust(1_000 + startMs)
      yield* Fiber.join(client.fiber)
      assert.strictEqual(yield* stateOf("a"), "running")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is refused in the end where a start never returns, and the place comes free", () =>
    Effect.gen(function* () {
      const client = yield* enter("a")
      yield* TestClock.adjust(49_999)
      assert.strictEqual(client.fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* refusal(client)).detail, "not started within 50000 ms")
      assert.strictEqual(yield* stateOf("a"), "backoff")
    }).pipe(Effect.provide(layer({}, Layer.succeed(Starter, { start: () => Effect.never }))))
  )

  it.effect("is refused in the end where a plan never comes", () =>
    Effect.gen(function* () {
      yield* (yield* Plans).hang(id("a"))
      const client = yield* enter("a")
      yield* TestClock.adjust(84_999)
      assert.strictEqual(client.fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* refusal(client)).detail, "there is no server after 85000 ms")
      assert.deepStrictEqual((yield* statusOf("a"))?.awake_because, [])
    }).pipe(Effect.provide(layer()))
  )

  it.effect("a defect in a start is told, and the project can be asked for again", () =>
    Effect.gen(function* () {
      for (let round = 0; round < 2; round++) {
        const client = yield* enter("a")
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* refusal(client)).detail, "the server could not be supervised")
        assert.strictEqual(yield* stateOf("a"), null)
      }
    }).pipe(Effect.provide(layer({ maxServers: 1 }, Layer.succeed(Starter, { start: () => Effect.die("a bug") }))))
  )
})

describe("spawn rate", () => {
  it.effect("is per client and minute; only a use that starts a server counts", () =>
    Effect.gen(function* () {
      const client = "203.0.113.7"
      yield* request("a", { client })
      yield* request("b", { client })
      for (let i = 0; i < 10; i++) yield* request("a", { client })
      const refused = yield* enter("c", { client })
      yield* TestClock.adjust(1)
      const { reason, retryAfterSeconds } = yield* refusal(refused)
      assert.strictEqual(reason, "rate_limited")
      assert.isAtLeast(retryAfterSeconds, 58)
      assert.isAtMost(retryAfterSeconds, 60)
      yield* request("a", { client })
      yield* request("c", { client: "203.0.113.8" })
      yield* request("d", { client: null })
      yield* TestClock.adjust(60_000)
      yield* request("e", { client })
    }).pipe(Effect.provide(layer({ spawnsPerMinute: 2 })))
  )

  it.effect("a start that never began is given back", () =>
    Effect.gen(function* () {
      const client = "203.0.113.7"
      yield* (yield* Plans).refuse(id("none"), new NoPlan({ reason: "forbidden", detail: "no" }))
      for (let i = 0; i < 5; i++) {
        const refused = yield* enter("none", { client })
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* refusal(refused)).reason, "forbidden")
      }
      yield* request("a", { client })
    }).pipe(Effect.provide(layer({ spawnsPerMinute: 1 })))
  )
})

describe("stop, restart, drain", () => {
  it.effect("stop ends it whoever is connected, and returns once it is gone; the next use starts it again", () =>
    Effect.gen(function* () {
      const { stop } = yield* Supervisor
      const client = yield* served("a", { kind: "connection" })
      assert.strictEqual(yield* within(10, stop(id("a"))), true)
      assert.strictEqual(yield* stateOf("a"), null)
      assert.strictEqual(yield* stop(id("a")), false)
      const next = yield* served("a", { kind: "connection" })
      assert.notStrictEqual(next.target.pid, client.target.pid)
      // The end of a use of its predecessor is not an end of this one's.
      yield* client.leave
      assert.strictEqual((yield* statusOf("a"))?.connections, 1)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("stop of a server that starts refuses who waits", () =>
    Effect.gen(function* () {
      const { stop } = yield* Supervisor
      const client = yield* enter("a")
      yield* TestClock.adjust(20)
      assert.strictEqual(yield* within(10, stop(id("a"))), true)
      assert.strictEqual((yield* refusal(client)).detail, "the server was stopped")
      assert.deepStrictEqual(yield* (yield* FakeServerHost).live, [])
    }).pipe(Effect.provide(layer()))
  )

  it.effect("restart starts it anew, also where nobody uses it", () =>
    Effect.gen(function* () {
      const { restart } = yield* Supervisor
      const { pid } = yield* request("a")
      assert.strictEqual(yield* within(10, restart(id("a"))), true)
      yield* TestClock.adjust(startMs)
      assert.strictEqual(yield* stateOf("a"), "idle")
      assert.notStrictEqual((yield* statusOf("a"))?.pid, pid)
      assert.strictEqual(yield* restart(id("b")), false)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("restart of a server that stops starts it again", () =>
    Effect.gen(function* () {
      const { restart, stop } = yield* Supervisor
      yield* (yield* FakeServerHost).setScripts(() => ({ stopsAfterMs: 1_000 }))
      yield* request("a")
      yield* Effect.forkChild(stop(id("a")))
      yield* TestClock.adjust(500)
      assert.strictEqual(yield* within(500, restart(id("a"))), true)
      yield* TestClock.adjust(startMs)
      assert.strictEqual(yield* stateOf("a"), "idle")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("at the end of its lifetime: a server in use is started again, an idle one is gone", () =>
    Effect.gen(function* () {
      const { totals } = yield* Supervisor
      yield* request("idle")
      yield* served("used", { kind: "connection" })
      yield* TestClock.adjust(100_000 - 150)
      assert.strictEqual((yield* totals).stops, 0)
      yield* TestClock.adjust(300)
      assert.strictEqual(yield* stateOf("idle"), null)
      assert.strictEqual(yield* stateOf("used"), "running")
      assert.strictEqual((yield* statusOf("used"))?.restarts, 1)
      assert.strictEqual((yield* totals).stops, 2)
    }).pipe(Effect.provide(layer({ maxLifetimeMs: 100_000 })))
  )

  it.effect("drain refuses who waits and who comes, and stops all at the same time", () =>
    Effect.gen(function* () {
      const { drain, status } = yield* Supervisor
      const host = yield* FakeServerHost
      yield* host.setScripts((name) => ({
        stopsAfterMs: name === "stubborn" ? null : 4_000,
        acceptsAfterMs: name === "starting" ? 9_000 : 50
      }))
      for (const project of ["a", "b", "stubborn"]) yield* served(project, { kind: "connection" })
      const starting = yield* enter("starting")
      yield* TestClock.adjust(100)
      const drained = yield* Effect.forkChild(drain, { startImmediately: true })
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* refusal(starting)).reason, "draining")
      for (const project of ["a", "new"]) {
        const client = yield* enter(project)
        assert.strictEqual((yield* refusal(client)).reason, "draining")
      }
      yield* TestClock.adjust(4_000)
      assert.deepStrictEqual(
        (yield* host.live).map(({ name }) => name),
        ["stubborn"]
      )
      assert.strictEqual(drained.pollUnsafe(), undefined)
      yield* TestClock.adjust(6_000)
      yield* Fiber.join(drained)
      assert.deepStrictEqual(yield* host.live, [])
      assert.deepStrictEqual(yield* status, [])
    }).pipe(Effect.provide(layer()))
  )

  it.effect("the end of the supervisor's scope drains it", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const scope = yield* Scope.make()
      const own = Context.get(yield* Layer.buildWithScope(Layer.fresh(Supervisor.layer), scope), Supervisor)
      const client = yield* Effect.forkChild(
        Effect.scoped(Effect.andThen(own.use({ project: id("a"), kind: "connection", client: null }), Effect.never))
      )
      yield* TestClock.adjust(startMs)
      assert.strictEqual((yield* host.live).length, 1)
      yield* within(10, Scope.close(scope, Exit.void))
      assert.deepStrictEqual(
        (yield* host.stops).map(({ graceMs }) => graceMs),
        [10_000]
      )
      assert.deepStrictEqual(yield* host.live, [])
      yield* Fiber.interrupt(client)
    }).pipe(Effect.provide(layer()))
  )
})
