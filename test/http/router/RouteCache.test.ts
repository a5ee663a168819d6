import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as PubSub from "effect/PubSub"
import * as TestClock from "effect/testing/TestClock"
import { StoreError } from "../../../src/services/db/StoreError.ts"
import { active, id, projectHost, request } from "../support.ts"
import { demo, run, get, code } from "./Asking.ts"

describe("the cache of routes", () => {
  it.effect("drops a project when its row changes, and everything on a resync", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        world.rows.set("other", active("other"))
        const others = request("/x", { Host: projectHost("other") })
        yield* get(router)
        yield* router.route(others)
        yield* PubSub.publish(world.changes, { _tag: "Changed", projectId: id("demo") })
        yield* TestClock.adjust("1 millis")
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
        assert.isDefined(router.tryRoute(others))
        yield* PubSub.publish(world.changes, { _tag: "Resync" })
        yield* TestClock.adjust("1 millis")
        assert.isUndefined(router.tryRoute(others))
      })
    )
  )

  it.effect("does not keep what was read before a change that came during the read", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const reading = yield* Latch.make(false)
        const go = yield* Latch.make(false)
        world.beforeFind = Effect.andThen(reading.open, go.await)
        const first = yield* Effect.forkChild(get(router))
        yield* reading.await
        yield* PubSub.publish(world.changes, { _tag: "Changed", projectId: id("demo") })
        yield* TestClock.adjust("1 millis")
        yield* go.open
        assert.strictEqual((yield* Fiber.join(first)).status, 307)
        assert.isUndefined(router.tryRoute(request("/x", { Host: demo })))
        yield* get(router)
        assert.strictEqual(world.finds, 2)
      })
    )
  )

  it.effect("reads together what comes while a statement runs", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 250 }, (_, index) => `demo-${index}`)
        for (const id of ids) world.rows.set(id, active(id))
        const go = yield* Latch.make(false)
        world.beforeFind = go.await
        const asked = yield* Effect.forkChild(
          Effect.forEach(ids, (id) => router.route(request("/", { Host: projectHost(id) })), {
            concurrency: "unbounded"
          })
        )
        yield* Effect.yieldNow
        yield* go.open
        const answers = yield* Fiber.join(asked)
        assert.deepStrictEqual(
          answers.map((answer) => answer?.headers["fly-replay"]?.split(";")[0]),
          ids.map((id) => `instance=m-${id}`)
        )
        assert.isAtMost(world.finds, 4)
      })
    )
  )

  it.effect("reads beside a statement that is slow, and four at once at most", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const go = yield* Latch.make(false)
        const ask = (name: string) => {
          world.rows.set(name, active(name))
          return Effect.forkChild(router.route(request("/", { Host: projectHost(name) })))
        }
        world.beforeFind = go.await
        const slow = [yield* ask("slow-0")]
        yield* TestClock.adjust("1 millis")
        slow.push(yield* ask("slow-1"))
        yield* TestClock.adjust("20 millis")
        assert.strictEqual(world.finds, 1, "it waits for the first")
        yield* TestClock.adjust("5 millis")
        assert.strictEqual(world.finds, 2, "but not for long")
        for (const name of ["slow-2", "slow-3", "slow-4"]) {
          slow.push(yield* ask(name))
          yield* TestClock.adjust("25 millis")
        }
        yield* TestClock.adjust("1 second")
        assert.strictEqual(world.finds, 4)
        yield* go.open
        const answers = yield* Effect.forEach(slow, Fiber.join)
        assert.deepStrictEqual(
          answers.map((answer) => answer?.status),
          slow.map(() => 307)
        )
        assert.strictEqual(world.finds, 5)
      })
    )
  )

  it.effect("reads a row once for all who wait, also when the first of them leaves", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const reading = yield* Latch.make(false)
        const go = yield* Latch.make(false)
        world.beforeFind = Effect.andThen(reading.open, go.await)
        const first = yield* Effect.forkChild(get(router))
        yield* reading.await
        const rest = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 50 }, () => get(router)),
            { concurrency: "unbounded" }
          )
        )
        yield* Effect.yieldNow
        yield* Fiber.interrupt(first)
        yield* go.open
        const answers = yield* Fiber.join(rest)
        assert.isTrue(answers.every((answer) => answer.status === 307))
        assert.strictEqual(world.finds, 1)
      })
    )
  )

  it.effect("trusts an entry for a minute, and for a second while changes are not heard", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.rows.set("demo", active("demo"))
        const cached = () => router.tryRoute(request("/x", { Host: demo })) !== undefined
        yield* get(router)
        yield* TestClock.adjust("59 seconds")
        assert.isTrue(cached())
        yield* TestClock.adjust("1 second")
        assert.isFalse(cached())

        yield* get(router)
        world.listening = false
        yield* TestClock.adjust("2 seconds")
        assert.isFalse(cached(), "an old entry")
        assert.isFalse(router.stats().feedConnected)
        yield* get(router)
        yield* TestClock.adjust("900 millis")
        assert.isTrue(cached(), "a new entry within its second")
        yield* TestClock.adjust("100 millis")
        assert.isFalse(cached())
      })
    )
  )

  it.effect("remembers that a project is unknown for two seconds only", () =>
    run((world, router) =>
      Effect.gen(function* () {
        const answer = yield* get(router)
        assert.strictEqual(answer.status, 404)
        assert.strictEqual(code(answer), "project_not_found")
        world.rows.set("demo", active("demo"))
        yield* TestClock.adjust("1900 millis")
        assert.strictEqual((yield* get(router)).status, 404)
        assert.strictEqual(world.finds, 1)
        yield* TestClock.adjust("100 millis")
        assert.strictEqual((yield* get(router)).status, 307)
      })
    )
  )

  it.effect("tells a database that is down from a project that is unknown", () =>
    run((world, router) =>
      Effect.gen(function* () {
        world.beforeFind = Effect.fail(new StoreError({ operation: "find", reason: "Unavailable", detail: "down" }))
        const answer = yield* get(router)
        assert.strictEqual(answer.status, 503)
        assert.strictEqual(code(answer), "unavailable")
        assert.isTrue(Number(answer.headers["retry-after"]) > 0)
        world.beforeFind = Effect.void
        world.rows.set("demo", active("demo"))
        assert.strictEqual((yield* get(router)).status, 307)
      })
    )
  )
})
