/**
 * How one logical call of the Machines API is made, however it is carried: booked in the budget, with a limit for each
 * attempt and one for the whole, repeated where that is safe.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { FlyPriority } from "./Fly.ts"
import * as FlyAnswer from "./FlyAnswer.ts"
import { FlyBudget, actionRate, type Rate } from "./FlyBudget.ts"
import { FlyError, RateLimited } from "./FlyError.ts"

export interface Policy {
  readonly operation: string
  readonly effects: FlyAnswer.Effects
  /** What Fly counts this request against: the app, a machine or a volume. */
  readonly identifier: string
  readonly rate?: Rate
  readonly attemptMs: number
  /** Milliseconds since the epoch; nothing is sent or waited for after it. */
  readonly deadline: number
}

/** One attempt and the whole call, budget and repeats included, in milliseconds. */
export interface Limits {
  readonly attemptMs: number
  readonly wholeMs: number
}

export const limitsOf = ({ attemptMs, wholeMs }: Limits) =>
  Effect.map(Clock.currentTimeMillis, (now) => ({ attemptMs, deadline: now + wholeMs }))

/** Repeats of one call; the deadline ends them earlier. */
const REPEATS = 20
const LONGEST_PAUSE = Duration.seconds(5)
/** What waits for its turn goes out later by this: one that took a shorter way than its predecessor would be refused. */
const EARLY_MS = 50

const repeatable = ({ reason }: FlyError, effects: FlyAnswer.Effects): boolean =>
  reason._tag === "Transient" ||
  reason._tag === "RateLimited" ||
  (reason._tag === "UnknownOutcome" && effects === "repeatable")

/** Pauses grow, at least as long as Fly asks for; none that ends after the deadline is begun. */
const repeats = ({ deadline, effects }: Policy) =>
  Schedule.min([Schedule.exponential("250 millis"), Schedule.spaced(LONGEST_PAUSE)]).pipe(
    Schedule.jittered,
    Schedule.upTo({ times: REPEATS }),
    Schedule.setInputType<FlyError>(),
    Schedule.modifyDelay(({ input, duration }) =>
      Effect.succeed(
        input.reason._tag === "RateLimited"
          ? Duration.max(duration, Duration.millis(input.reason.retryAfterMs))
          : duration
      )
    ),
    Schedule.while(
      ({ input, now, duration }) => repeatable(input, effects) && now + Duration.toMillis(duration) < deadline
    )
  )

export const make = Effect.map(FlyBudget, (budget) => {
  const leftOf = ({ deadline }: Policy) => Effect.map(Clock.currentTimeMillis, (now) => Math.max(0, deadline - now))

  /**
   * Waits for its turn; false where the deadline is before it. A background caller holds no place: it asks again until
   * nobody waits, so that a wake that comes later is not behind it.
   */
  const turn = Effect.fnUntraced(function* (policy: Policy) {
    const rate = policy.rate ?? actionRate
    const bucket = `${policy.operation}:${policy.identifier}`
    const holdsPlace = (yield* FlyPriority) !== "background"
    for (;;) {
      const left = yield* leftOf(policy)
      const waitMs = yield* budget.book({ bucket, rate, maxWaitMs: holdsPlace ? Math.max(0, left - EARLY_MS) : 0 })
      if (waitMs !== null) {
        if (waitMs > 0) yield* Effect.sleep(waitMs + EARLY_MS)
        return true
      }
      const pauseMs = rate.intervalMs / 2
      if (holdsPlace || pauseMs >= left) return false
      yield* Effect.sleep(pauseMs)
    }
  })

  const attempt = Effect.fnUntraced(function* <A>(policy: Policy, send: Effect.Effect<A, FlyError>) {
    const { effects, operation } = policy
    if (!(yield* turn(policy))) {
      const retryAfterMs = yield* leftOf(policy)
      const reason = new RateLimited({ by: "budget", retryAfterMs, detail: "the request budget is booked out" })
      return yield* new FlyError({ operation, reason })
    }
    const limitMs = Math.min(policy.attemptMs, yield* leftOf(policy))
    return yield* Effect.timeoutOrElse(send, {
      duration: limitMs,
      orElse: () => {
        const reason = FlyAnswer.reasonOfSilence(effects, `no answer within ${limitMs} ms`)
        return Effect.fail(new FlyError({ operation, reason }))
      }
    })
  })
  return <A>(policy: Policy, send: Effect.Effect<A, FlyError>): Effect.Effect<A, FlyError> =>
    Effect.retry(attempt(policy, send), repeats(policy))
})
