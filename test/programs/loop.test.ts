import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Exit from "effect/Exit"
import * as TestClock from "effect/testing/TestClock"
import { loop } from "../../src/programs/background/Loop.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { taskLocks } from "../../src/services/locks/Locks.ts"
import { MemoryDatabase } from "../../src/testing/memory/MemoryDatabase.ts"
import { layerInstance } from "../../src/testing/memory/MemoryStores.ts"
import { StoreFaults } from "../../src/testing/memory/StoreFaults.ts"

const everyMs = 30_000

/** An instance with one loop, whose passes are noted by name and time; it dies with its scope. */
const start = Effect.fnUntraced(function* (name: string, passes: Array<readonly [string, number]>) {
  const scope = yield* Scope.make()
  const database = yield* Effect.context<MemoryDatabase>()
  const services = Layer.mergeAll(layerInstance(name), Signals.layer).pipe(
    Layer.provide(Layer.succeedContext(database))
  )
  const context = yield* Layer.buildWithMemoMap(services, yield* Layer.makeMemoMap, scope)
  const { current } = yield* loop({
    name: "discard",
    everyMs,
    limitMs: everyMs,
    lock: taskLocks.discard,
    atOnce: false,
    run: Effect.map(Clock.currentTimeMillis, (now) => void passes.push([name, now]))
  }).pipe(Effect.provideContext(context), Scope.provide(scope))
  const signals = Context.get(context, Signals)
  return { current, poke: signals.poke("discard"), kill: Scope.close(scope, Exit.void) }
})

describe("a loop of several instances", () => {
  it.effect("makes one pass in each period of the whole plane; another instance goes on when one is gone", () =>
    Effect.gen(function* () {
      const passes: Array<readonly [string, number]> = []
      const instances = yield* Effect.forEach(["a", "b", "c"], (name) => start(name, passes))
      yield* TestClock.adjust(20 * everyMs)
      assert.isAtLeast(passes.length, 18)
      assert.isAtMost(passes.length, 22)
      for (const [at, [, time]] of passes.entries()) {
        const [, last] = passes[at - 1] ?? ["", -everyMs]
        assert.isAtLeast(time - last, 0.9 * everyMs)
      }
      const worker = passes.at(-1)?.[0]
      const [dying] = instances.filter((_, at) => ["a", "b", "c"][at] === worker)
      assert(dying !== undefined)
      yield* dying.kill
      const [, before] = passes.at(-1) ?? ["", 0]
      yield* TestClock.adjust(3 * everyMs)
      const next = passes.find(([, time]) => time > before)
      assert(next !== undefined)
      assert.notStrictEqual(next[0], worker)
      assert.isAtMost(next[1] - before, 2 * everyMs + 1_000)
    }).pipe(Effect.provide(MemoryDatabase.layer), Random.withSeed("periods"))
  )

  it.effect("runs at once where it is poked, whoever made the last pass", () =>
    Effect.gen(function* () {
      const passes: Array<readonly [string, number]> = []
      const a = yield* start("a", passes)
      const b = yield* start("b", passes)
      yield* TestClock.adjust(2 * everyMs)
      for (const [instance, name] of [
        [a, "a"],
        [b, "b"]
      ] as const) {
        const before = passes.length
        yield* instance.poke
        yield* TestClock.adjust(300)
        assert.deepStrictEqual(
          passes.slice(before).map(([by]) => by),
          [name]
        )
      }
    }).pipe(Effect.provide(MemoryDatabase.layer), Random.withSeed("pokes"))
  )

  it.effect("goes on by itself while the database can't tell whose turn it is", () =>
    Effect.gen(function* () {
      const passes: Array<readonly [string, number]> = []
      const { current } = yield* start("a", passes)
      yield* TestClock.adjust(10 * everyMs)
      assert.isAtLeast(passes.length, 9)
      assert.strictEqual((yield* current).runs, passes.length)
    }).pipe(
      Effect.provideService(StoreFaults, (operation) => Effect.succeed(operation === "book" ? "before" : "none")),
      Effect.provide(MemoryDatabase.layer),
      Random.withSeed("away")
    )
  )
})
