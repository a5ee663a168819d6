/**
 * Time as the supervisor counts it: whole milliseconds that only go on. The clock on the wall may be set, by hours after
 * a boot without a network; neither an idle time nor a back-off may follow it.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Since some moment before the start. */
export const nowUnsafe = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

export const now: Effect.Effect<number> = Effect.clockWith((clock) => Effect.succeed(nowUnsafe(clock)))

/** What the clock on the wall shows for such a time, as it is set now. */
export const wall: Effect.Effect<(at: number) => number> = Effect.clockWith((clock) => {
  const offset = clock.currentTimeMillisUnsafe() - nowUnsafe(clock)
  return Effect.succeed((at) => at + offset)
})
