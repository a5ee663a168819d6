/** Faults that the local S3 server can be told to have, for trying out what a plane does about them. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/** Shares between 0 and 1 of the requests on objects. */
export interface Faults {
  /** Answered 503 before anything happened. */
  readonly fail?: number
  /** A PUT that is answered 200 and stores nothing. */
  readonly lose?: number
  /** A PUT that is answered 200 and stores its first half. */
  readonly shorten?: number
  /** A GET whose connection breaks in the middle. */
  readonly cut?: number
}

export const none: Faults = {}

const happens = (share: number | undefined) =>
  share === undefined || share <= 0 ? Effect.succeed(false) : Effect.map(Random.next, (drawn) => drawn < share)

export type Fault = "fail" | "lose" | "shorten" | "cut"

/** At most one fault a request, the first of those asked for that happens. */
export const draw = Effect.fnUntraced(function* (faults: Faults, kinds: ReadonlyArray<Fault>) {
  for (const kind of kinds) if (yield* happens(faults[kind])) return kind
  return null
})
