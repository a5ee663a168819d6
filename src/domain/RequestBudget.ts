/**
 * A shared request budget by the generic cell rate algorithm (ITU-T I.371): one request each `intervalMs`, `burst` of
 * them at once. The state of a bucket is one moment, its theoretical arrival time; a full bucket's is not ahead.
 */
export interface Booking {
  readonly intervalMs: number
  readonly burst: number
  /** Requests of the burst that this caller leaves to others. */
  readonly reserve: number
  readonly maxWaitMs: number
}

/** Null: the wait would be longer than `maxWaitMs`; nothing is booked. */
export const book = (
  { burst, intervalMs, maxWaitMs, reserve }: Booking,
  arrival: number,
  now: number
): { readonly waitMs: number; readonly arrival: number } | null => {
  const from = Math.max(arrival, now)
  const waitMs = Math.max(0, Math.ceil(from - (burst - reserve - 1) * intervalMs - now))
  return waitMs > maxWaitMs ? null : { waitMs, arrival: from + intervalMs }
}
