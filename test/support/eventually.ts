import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"

class NotYet {
  readonly _tag = "NotYet"
}

/** Looks every 20 ms of real time until it is so, for at most 20 s. */
export const eventually = <E, R>(look: Effect.Effect<boolean, E, R>): Effect.Effect<void, E | NotYet, R> =>
  look.pipe(
    Effect.flatMap((so) => (so ? Effect.void : Effect.fail(new NotYet()))),
    Effect.retry({
      while: (error) => error instanceof NotYet,
      schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo({ times: 1000 }))
    })
  )

/** The same under a test clock, which does not move. */
export const eventuallyLive = <E, R>(look: Effect.Effect<boolean, E, R>) => TestClock.withLive(eventually(look))
