import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as VirtualTime from "../../src/testing/simulation/VirtualTime.ts"

describe("virtual time", () => {
  it("jumps to the next timer once every fiber is at rest, in order", () => {
    const time = VirtualTime.make(1_000)
    const seen: Array<string> = []
    const sleeper = (name: string, ms: number) =>
      Effect.gen(function* () {
        yield* Effect.sleep(ms)
        seen.push(`${name} ${yield* Clock.currentTimeMillis}`)
      })
    const exit = time.run(
      Effect.all([sleeper("b", 86_400_000), sleeper("a", 10), sleeper("c", 10)], { concurrency: "unbounded" })
    )
    assert.isTrue(exit !== null && Exit.isSuccess(exit))
    assert.deepStrictEqual(seen, ["a 1010", "c 1010", "b 86401000"])
  })

  it("forgets a timer whose sleeper was interrupted", () => {
    const time = VirtualTime.make(0)
    time.run(Effect.timeoutOption(Effect.never, 5))
    time.run(Effect.timeoutOption(Effect.sleep(1), 3_600_000))
    assert.strictEqual(time.clock.currentTimeMillisUnsafe(), 6)
  })

  it("says when nothing is left that could go on", () => {
    const time = VirtualTime.make(0)
    const stuck = Effect.flatMap(Deferred.make<void>(), Deferred.await)
    assert.throws(() => time.run(stuck), VirtualTime.Deadlock)
  })

  it("says when fibers go on for ever without time passing", () => {
    const time = VirtualTime.make(0)
    assert.throws(() => time.run(Effect.forever(Effect.yieldNow)), VirtualTime.Deadlock)
  })

  it("ends where it is told to", () => {
    const time = VirtualTime.make(0)
    const hourly = Effect.forever(Effect.sleep(3_600_000))
    assert.isNull(time.run(hourly, () => time.clock.currentTimeMillisUnsafe() >= 10 * 3_600_000))
    assert.strictEqual(time.clock.currentTimeMillisUnsafe(), 10 * 3_600_000)
  })

  it("ends a sleep of a process that stands still when it goes on, and tells it a time of its own", () => {
    const time = VirtualTime.make(0)
    let until = 0
    const clock = time.skewed(5_000, () => until)
    const woken = Effect.gen(function* () {
      until = 60_000
      yield* Effect.sleep(1_000)
      return yield* Clock.currentTimeMillis
    }).pipe(Effect.provideService(Clock.Clock, clock))
    assert.deepStrictEqual(time.run(woken), Exit.succeed(65_000))
  })
})
