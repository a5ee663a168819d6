import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"

/** Runs to the end under TestClock, letting simulated time pass in small steps: at most an hour of it. */
export const settled = <A, E, R>(effect: Effect.Effect<A, E, R>, stepMs = 250) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let step = 0; step < 60 * 60 * 4 && fiber.pollUnsafe() === undefined; step++) {
      yield* Effect.yieldNow
      yield* TestClock.adjust(stepMs)
    }
    return yield* Fiber.join(fiber)
  })
