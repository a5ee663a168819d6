/** What went wrong inside an operation, told to its caller in the words of `Lifecycle`. */
import { FlyError } from "../../services/fly/FlyError.ts"
import { backoffMs } from "./limits.ts"
import * as Reasons from "./Lifecycle.ts"

const soonMs = 2_000

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export const unavailable = (error: unknown): Reasons.Unavailable =>
  new Reasons.Unavailable({ retryAfterMs: soonMs, detail: messageOf(error).slice(0, 300) })

export const wakeFailure = (error: unknown): Reasons.WakeError => {
  if (error instanceof Reasons.WakeError) return error
  if (error instanceof FlyError && error.reason._tag === "Capacity") {
    return new Reasons.WakeError({
      reason: new Reasons.Capacity({ retryAfterMs: backoffMs(0), detail: error.message })
    })
  }
  if (error instanceof FlyError && error.reason._tag === "RateLimited") {
    const { retryAfterMs, detail } = error.reason
    return new Reasons.WakeError({
      reason: new Reasons.Unavailable({ retryAfterMs: Math.max(1, retryAfterMs), detail })
    })
  }
  return new Reasons.WakeError({ reason: unavailable(error) })
}
