/**
 * Creates exactly once. A create whose outcome is unknown looks for what it may have made, by the name that the ledger
 * gave it, while Fly prepares it, and adopts it; only when it is certainly not there is it sent again, a bounded number
 * of times.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { FlyError, UnknownOutcome } from "./FlyError.ts"

/** Before the first look; Fly's own tool waits as long before it lists. */
const FIRST_LOOK = "500 millis"
/** Further looks half a second, 1 s and 2 s apart: a listing may lag behind. */
const looks = Schedule.exponential(FIRST_LOOK).pipe(Schedule.jittered, Schedule.upTo({ times: 3 }))
/** In all. */
const SENDS = 3

export interface Create<A> {
  readonly operation: string
  readonly send: Effect.Effect<A, FlyError>
  /** What exists under the name, if it is what we asked for. */
  readonly find: Effect.Effect<A | null, FlyError>
  /** The thing that has the name already, by the id that Fly told, if it is what we asked for. */
  readonly findExisting: (id: string) => Effect.Effect<A | null, FlyError>
  /** Milliseconds since the epoch; nothing is sent again after it. */
  readonly deadline: number
}

export const exactlyOnce = <A>(create: Create<A>): Effect.Effect<A, FlyError> => {
  const unknown = (detail: string) =>
    new FlyError({ operation: create.operation, reason: new UnknownOutcome({ detail }) })

  /** Fails where it could not look; null where it looked until the end and found nothing. */
  const look = (detail: string) =>
    Effect.sleep(FIRST_LOOK).pipe(
      Effect.andThen(create.find),
      Effect.filterOrFail(
        (found) => found !== null,
        () => "absent" as const
      ),
      Effect.retry(looks),
      Effect.catch((failure) => (failure === "absent" ? Effect.succeed(null) : Effect.fail(unknown(detail))))
    )

  const attempt = (left: number): Effect.Effect<A, FlyError> =>
    Effect.catch(
      create.send,
      Effect.fnUntraced(function* (error) {
        const { reason } = error
        if (reason._tag === "Conflict" && reason.existingId !== null)
          return (yield* create.findExisting(reason.existingId)) ?? (yield* error)
        if (reason._tag !== "UnknownOutcome") return yield* error
        const found = yield* look(reason.detail)
        if (found !== null) {
          yield* Effect.logInfo("adopted what Fly had created without confirming it").pipe(
            Effect.annotateLogs({ operation: create.operation })
          )
          return found
        }
        if (left <= 1 || (yield* Clock.currentTimeMillis) >= create.deadline) return yield* unknown(reason.detail)
        return yield* attempt(left - 1)
      })
    )

  return attempt(SENDS)
}
