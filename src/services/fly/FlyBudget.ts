/**
 * Fly's request budget: one request a second per action and identifier with a burst of three, five and ten for reading
 * one machine (Fly's documentation of the Machines API). Creates and listings count against the app.
 *
 * The instances of a plane share it through the database. While that can't be asked each goes on by itself at half the
 * rate: two instances together then still keep within it, and a plane without its database can clean up.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Plane } from "../db/Plane.ts"
import { FlyPriority } from "./Fly.ts"

export interface Rate {
  readonly intervalMs: number
  readonly burst: number
  /** Requests of the burst that background callers leave to wakes. */
  readonly reserve: number
}

export const actionRate: Rate = { intervalMs: 1_000, burst: 3, reserve: 2 }
export const getMachineRate: Rate = { intervalMs: 200, burst: 10, reserve: 5 }

export interface Booking {
  /** `action:identifier` */
  readonly bucket: string
  readonly rate: Rate
  readonly maxWaitMs: number
}

export class FlyBudget extends Context.Service<
  FlyBudget,
  {
    /** Milliseconds until the request may be sent; null where that would be longer than `maxWaitMs`. */
    book(booking: Booking): Effect.Effect<number | null>
  }
>()("valet/FlyBudget") {}

/** A booking that takes longer than this is worth less than an own decision. */
const DATABASE_TIMEOUT_MS = 1_000
const FALLBACK_SHARE = 2
/** Buckets remembered by the local limiter; those that are full again are forgotten first. */
const LOCAL_BUCKETS = 2_000

/** Generic cell rate algorithm over theoretical arrival times. */
export const makeLocal = (share = 1) => {
  const arrivals = new Map<string, number>()
  const forget = (now: number) => {
    for (const [bucket, arrival] of arrivals) if (arrival <= now) arrivals.delete(bucket)
    // Map keeps the order of insertion: the oldest goes.
    for (const bucket of arrivals.keys()) {
      if (arrivals.size < LOCAL_BUCKETS) break
      arrivals.delete(bucket)
    }
  }
  return Effect.fnUntraced(function* (booking: Booking) {
    const now = yield* Clock.currentTimeMillis
    const priority = yield* FlyPriority
    const interval = booking.rate.intervalMs * share
    const reserve = priority === "background" ? booking.rate.reserve : 0
    const tolerance = (booking.rate.burst - 1 - reserve) * interval
    const arrival = Math.max(arrivals.get(booking.bucket) ?? now, now)
    const waitMs = Math.max(0, arrival - tolerance - now)
    if (waitMs > booking.maxWaitMs) return null
    if (arrivals.size >= LOCAL_BUCKETS) forget(now)
    arrivals.set(booking.bucket, arrival + interval)
    return waitMs
  })
}

/** For a single instance without a database, and for tests. */
export const layerLocal: Layer.Layer<FlyBudget> = Layer.sync(FlyBudget, () => FlyBudget.of({ book: makeLocal() }))

/** Shared through the database. */
export const layer: Layer.Layer<FlyBudget, never, Plane> = Layer.effect(
  FlyBudget,
  Effect.gen(function* () {
    const plane = yield* Plane
    const local = makeLocal(FALLBACK_SHARE)
    return FlyBudget.of({
      book: Effect.fnUntraced(function* (booking) {
        const priority = yield* FlyPriority
        const shared = plane.book({
          bucket: booking.bucket,
          intervalMs: booking.rate.intervalMs,
          burst: booking.rate.burst,
          reserve: priority === "background" ? booking.rate.reserve : 0,
          maxWaitMs: booking.maxWaitMs
        })
        return yield* shared.pipe(
          Effect.timeout(DATABASE_TIMEOUT_MS),
          Effect.catch((error) =>
            Effect.andThen(
              Effect.logWarning("Fly's request budget can't be shared, keeping to half of it").pipe(
                Effect.annotateLogs({ bucket: booking.bucket, reason: error.message })
              ),
              local(booking)
            )
          )
        )
      })
    })
  })
)
