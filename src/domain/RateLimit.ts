/**
 * Exact sliding windows: an action is allowed if each window holds fewer accepted actions than its limit. Only accepted
 * actions count, so a client that keeps asking is not locked out for ever.
 */
export interface Window {
  readonly limit: number
  readonly windowMs: number
}

/** The documents' limits for project creation: 3 in a minute (the burst), 6 in 15 minutes, 15 in an hour. */
export const defaultCreateWindows: ReadonlyArray<Window> = [
  { limit: 3, windowMs: 60_000 },
  { limit: 6, windowMs: 15 * 60_000 },
  { limit: 15, windowMs: 60 * 60_000 }
]

/** 0: allowed now; else milliseconds until every window would allow it. `accepted`: times of accepted actions. */
export const retryAfterMs = (accepted: ReadonlyArray<number>, windows: ReadonlyArray<Window>, now: number): number => {
  let wait = 0
  for (const { limit, windowMs } of windows) {
    const inside = accepted.filter((at) => at > now - windowMs).toSorted((a, b) => a - b)
    const blocking = inside[inside.length - limit]
    if (blocking !== undefined) wait = Math.max(wait, blocking + windowMs - now)
  }
  return wait
}
