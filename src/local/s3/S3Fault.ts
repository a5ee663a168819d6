/** Faults that the local S3 server can be told to have, for trying out what a plane does about them. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"

const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/** Shares between 0 and 1 of the requests on objects. */
export const Faults = Schema.Struct({
  /** Answered 503 before anything happened. */
  fail: Schema.optionalKey(Share),
  /** A PUT that is answered 200 and stores nothing. */
  lose: Schema.optionalKey(Share),
  /** A PUT that is answered 200 and stores its first half. */
  shorten: Schema.optionalKey(Share),
  /** A GET whose connection breaks in the middle. */
  cut: Schema.optionalKey(Share),
  /** Carried out (or failed) at once, and answered so many milliseconds later. */
  late: Schema.optionalKey(
    Schema.Struct({
      share: Share,
      ms: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 600_000 }))
    })
  )
})
export type Faults = typeof Faults.Type

export const none: Faults = {}

const happens = (share: number | undefined) =>
  share === undefined || share <= 0 ? Effect.succeed(false) : Effect.map(Random.next, (drawn) => drawn < share)

export type Fault = "fail" | "lose" | "shorten" | "cut"

/** At most one fault a request, the first of those asked for that happens. */
export const draw = Effect.fnUntraced(function* (faults: Faults, kinds: ReadonlyArray<Fault>) {
  for (const kind of kinds) if (yield* happens(faults[kind])) return kind
  return null
})

/** Holds an answer back; beside any other fault. */
export const delayed =
  (faults: Faults) =>
  <A, E, R>(answer: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(happens(faults.late?.share), (late) =>
      late
        ? Effect.flatMap(Effect.exit(answer), (exit) => Effect.andThen(Effect.sleep(faults.late?.ms ?? 0), exit))
        : answer
    )
