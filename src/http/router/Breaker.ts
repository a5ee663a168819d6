/**
 * How many requests one instance holds while they wait for a row or a wake. One more is turned away at once: a held
 * request costs memory and a connection, and a queue without a bound only moves the failure.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** A held request is a fiber, a deferred and a socket, some tens of kilobytes: a few hundred megabytes at the bound. */
export const MaxWaiting = Context.Reference<number>("valet/router/MaxWaiting", { defaultValue: () => 8_192 })

export interface Breaker {
  readonly guard: <A, E, R>(effect: Effect.Effect<A, E, R>, whenFull: () => A) => Effect.Effect<A, E, R>
  readonly waiting: () => number
}

export const make: Effect.Effect<Breaker> = Effect.map(MaxWaiting, (max) => {
  let waiting = 0
  return {
    waiting: () => waiting,
    guard: (effect, whenFull) =>
      Effect.suspend(() => {
        if (waiting >= max) return Effect.succeed(whenFull())
        waiting++
        return Effect.ensuring(
          effect,
          Effect.sync(() => waiting--)
        )
      })
  }
})
