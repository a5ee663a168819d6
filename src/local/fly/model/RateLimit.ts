/**
 * Fly's request budget: one request a second for each action and identifier with bursts of three, five with bursts of
 * ten for reading one machine, a hundred deletions of apps a minute. The identifier is the machine or volume where
 * there is one, else the app.
 */
import type { Draft } from "./Draft.ts"
import type { Call } from "./Operations.ts"
import type { Refusal } from "./Refusal.ts"
import { refusal } from "./Refusal.ts"

const budgetOf = (call: Call): { readonly perSecond: number; readonly burst: number; readonly key: string } => {
  if (call.operation === "deleteApp") return { perSecond: 100 / 60, burst: 100, key: call.operation }
  const key = `${call.operation} ${call.target ?? call.app}`
  return call.operation === "getMachine" ? { perSecond: 5, burst: 10, key } : { perSecond: 1, burst: 3, key }
}

const full = (bucket: { readonly tokens: number; readonly at: number }, now: number) =>
  // The slowest bucket refills within a minute.
  bucket.at + 60_000 <= now

/** Takes a token; a refusal where there is none. */
export const spend = (draft: Draft, call: Call): Refusal | null => {
  if (!draft.params.rateLimits) return null
  const { perSecond, burst, key } = budgetOf(call)
  const { [key]: bucket, ...others } = draft.state.buckets
  const tokens =
    bucket === undefined
      ? burst
      : Math.min(burst, bucket.tokens + (Math.max(0, draft.now - bucket.at) / 1_000) * perSecond)
  const kept = Object.fromEntries(Object.entries(others).filter(([, it]) => !full(it, draft.now)))
  draft.state = {
    ...draft.state,
    buckets: { ...kept, [key]: { tokens: tokens >= 1 ? tokens - 1 : tokens, at: draft.now } }
  }
  return tokens >= 1 ? null : refusal(429, "rate limit exceeded")
}
