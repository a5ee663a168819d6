import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Supervisor } from "../../../src/orchestrator/Supervisor.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { enter, layer, refusal, request, served, startMs, stateOf } from "./support.ts"

const liveNames = Effect.map(
  Effect.flatMap(FakeServerHost, ({ live }) => live),
  (live) => live.map(({ name }) => name).toSorted()
)

const keepAwake = Effect.fnUntraced(function* (project: string, seconds: number) {
  const live = yield* (yield* FakeServerHost).live
  const token = live.find(({ name }) => name === project)?.launch.env["VALET_KEEP_AWAKE_TOKEN"] ?? ""
  yield* (yield* Supervisor).keepAwake(token, seconds, "busy")
})

describe("capacity", () => {
  it.effect("the server that is idle for the longest time gives way", () =>
    Effect.gen(function* () {
      for (const project of ["a", "b", "c"]) yield* request(project)
      yield* request("a")
      yield* request("d")
      assert.deepStrictEqual(yield* liveNames, ["a", "c", "d"])
      yield* request("e")
      assert.deepStrictEqual(yield* liveNames, ["a", "d", "e"])
      const totals = yield* (yield* Supervisor).totals
      assert.strictEqual(totals.evictions, 2)
      assert.strictEqual(totals.stops, 2)
      assert.strictEqual(yield* (yield* FakeServerHost).maxLive, 3)
    }).pipe(Effect.provide(layer({ maxServers: 3 })))
  )

  it.effect("one in use never does: not by a connection, a request or a lease", () =>
    Effect.gen(function* () {
      yield* served("connection", { kind: "connection" })
      yield* served("request")
      yield* request("lease")
      yield* keepAwake("lease", 3_600)
      yield* request("idle")
      yield* request("other")
      assert.deepStrictEqual(yield* liveNames, ["connection", "lease", "other", "request"])
    }).pipe(Effect.provide(layer({ maxServers: 4 })))
  )

  it.effect("all held by connections and leases: refused at once", () =>
    Effect.gen(function* () {
      yield* served("a", { kind: "connection" })
      yield* request("b")
      yield* keepAwake("b", 3_600)
      const client = yield* enter("c")
      yield* TestClock.adjust(1)
      const { reason, retryAfterSeconds } = yield* refusal(client)
      assert.deepStrictEqual({ reason, retryAfterSeconds }, { reason: "full", retryAfterSeconds: 5 })
      assert.strictEqual(yield* stateOf("c"), null)
      // The next one finds a place as soon as there is one.
      yield* keepAwake("b", 0)
      yield* request("c")
      assert.deepStrictEqual(yield* liveNames, ["a", "c"])
    }).pipe(Effect.provide(layer({ maxServers: 2 })))
  )

  it.effect("one is held by a request only: waited for, in order of arrival", () =>
    Effect.gen(function* () {
      yield* served("a", { kind: "connection" })
      const busy = yield* served("b")
      const first = yield* enter("c")
      const second = yield* enter("d")
      yield* TestClock.adjust(20_000)
      assert.strictEqual(first.fiber.pollUnsafe(), undefined)
      yield* busy.leave
      yield* TestClock.adjust(startMs)
      yield* Fiber.join(first.fiber)
      assert.strictEqual(second.fiber.pollUnsafe(), undefined)
      yield* first.leave
      yield* TestClock.adjust(startMs)
      yield* Fiber.join(second.fiber)
      assert.deepStrictEqual(yield* liveNames, ["a", "d"])
    }).pipe(Effect.provide(layer({ maxServers: 2 })))
  )

  it.effect("is waited for no longer than the spawn timeout; then nothing of the waiter is left", () =>
    Effect.gen(function* () {
      const busy = yield* served("a")
      const client = yield* enter("b")
      yield* TestClock.adjust(29_999)
      assert.strictEqual(client.fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* refusal(client)).reason, "full")
      assert.strictEqual(yield* stateOf("b"), null)
      yield* busy.leave
      yield* TestClock.adjust(startMs)
      // Nobody waits any more, so nobody has to give way.
      assert.deepStrictEqual(yield* liveNames, ["a"])
      yield* request("c")
      assert.deepStrictEqual(yield* liveNames, ["c"])
    }).pipe(Effect.provide(layer({ maxServers: 1 })))
  )

  it.effect("comes free when a lease expires while somebody waits", () =>
    Effect.gen(function* () {
      yield* served("request")
      yield* request("lease")
      yield* keepAwake("lease", 10)
      const client = yield* enter("c")
      yield* TestClock.adjust(9_000)
      assert.strictEqual(client.fiber.pollUnsafe(), undefined)
      yield* TestClock.adjust(1_000 + startMs)
      yield* Fiber.join(client.fiber)
      assert.deepStrictEqual(yield* liveNames, ["c", "request"])
    }).pipe(Effect.provide(layer({ maxServers: 2 })))
  )

  it.effect("two that come together evict two, not the same one twice", () =>
    Effect.gen(function* () {
      for (const project of ["a", "b", "c"]) yield* request(project)
      const first = yield* enter("d")
      const second = yield* enter("e")
      yield* TestClock.adjust(startMs)
      yield* Fiber.join(first.fiber)
      yield* Fiber.join(second.fiber)
      assert.deepStrictEqual(yield* liveNames, ["c", "d", "e"])
    }).pipe(Effect.provide(layer({ maxServers: 3 })))
  )

  it.effect("a use of a server that is being evicted waits for its turn, and is served", () =>
    Effect.gen(function* () {
      yield* (yield* FakeServerHost).setScripts(() => ({ stopsAfterMs: 1_000 }))
      yield* request("a")
      const other = yield* enter("b")
      yield* TestClock.adjust(500)
      assert.strictEqual(yield* stateOf("a"), "stopping")
      const again = yield* enter("a")
      yield* TestClock.adjust(600)
      yield* Fiber.join(other.fiber)
      yield* other.leave
      yield* TestClock.adjust(1_100)
      yield* Fiber.join(again.fiber)
      assert.deepStrictEqual(yield* liveNames, ["a"])
    }).pipe(Effect.provide(layer({ maxServers: 1 })))
  )

  it.effect("a crash gives its place away, a replacement keeps it", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* served("a", { kind: "connection" })
      const busy = yield* served("b")
      yield* host.change("a", { health: "closed" })
      yield* TestClock.adjust(44_000)
      const waiting = yield* enter("c")
      yield* TestClock.adjust(2_000)
      // A new process of the same project, although another one waits.
      assert.deepStrictEqual(yield* liveNames, ["a", "b"])
      yield* host.exit("a", 1)
      yield* TestClock.adjust(startMs)
      assert.deepStrictEqual(yield* liveNames, ["b", "c"])
      yield* Fiber.join(waiting.fiber)
      yield* busy.leave
      yield* TestClock.adjust(startMs)
      assert.deepStrictEqual(yield* liveNames, ["a", "c"])
    }).pipe(Effect.provide(layer({ maxServers: 2 })))
  )

  it.effect("200 projects in turn on 20 places, 40 requests at a time: all are served", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor
      const host = yield* FakeServerHost
      const projects = Array.from({ length: 200 }, (_, i) => `p${i}`)
      let servedCount = 0
      const ask = (project: string) =>
        Effect.gen(function* () {
          const client = yield* enter(project)
          yield* Fiber.join(client.fiber)
          yield* Effect.sleep(5)
          yield* client.leave
          servedCount += 1
        })
      const all = yield* Effect.forkChild(
        Effect.forEach([...projects, ...projects, ...projects], ask, { concurrency: 40, discard: true })
      )
      const began = yield* Clock.currentTimeMillis
      while (all.pollUnsafe() === undefined && (yield* Clock.currentTimeMillis) - began < 600_000) {
        yield* TestClock.adjust(50)
      }
      yield* Fiber.join(all)
      assert.strictEqual(servedCount, 600)
      assert.strictEqual(yield* host.maxLive, 20)
      assert.strictEqual((yield* supervisor.totals).refused, 0)
      yield* TestClock.adjust(400_000)
      assert.deepStrictEqual(yield* supervisor.status, [])
    }).pipe(Effect.provide(layer({ maxServers: 20 })))
  )

  it.effect("is waited for by 1,000 projects at most", () =>
    Effect.gen(function* () {
      yield* served("busy")
      for (let i = 0; i < 1_000; i++) yield* enter(`p${i}`)
      yield* TestClock.adjust(1)
      const oneMore = yield* enter("one-more")
      assert.strictEqual((yield* refusal(oneMore)).reason, "full")
      assert.strictEqual(yield* stateOf("p999"), "starting")
    }).pipe(Effect.provide(layer({ maxServers: 1 })))
  )
})
