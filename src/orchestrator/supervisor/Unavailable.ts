/** Why a project has no server for this request. */
import * as Schema from "effect/Schema"

/**
 * `forbidden` 404 · `invalid` 500 its valet.json · `rate_limited` 429 · `full` 503 all servers are in use · `failed` 503
 * it does not start or keeps dying · `draining` 503.
 */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  reason: Schema.Literals(["forbidden", "invalid", "rate_limited", "full", "failed", "draining"]),
  detail: Schema.String,
  retryAfterSeconds: Schema.Int,
  /** Its last lines: for the operator's eyes. */
  output: Schema.Array(Schema.String)
}) {
  override get message() {
    return this.detail
  }
  get retryable() {
    return this.reason !== "forbidden" && this.reason !== "invalid"
  }
}

/** For reasons that pass by themselves but at no known time. */
const soonSeconds = 5

const without = (
  reason: Unavailable["reason"],
  detail: string,
  retryAfterSeconds: number,
  output: ReadonlyArray<string> = []
) => new Unavailable({ reason, detail, retryAfterSeconds, output })

/** At least a second, so that no client takes it for "at once". */
const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000))

export const draining = () => without("draining", "the orchestrator is stopping", soonSeconds)
export const full = () => without("full", "all servers are in use", soonSeconds)
export const rateLimited = (waitMs: number) => without("rate_limited", "too many servers were started", seconds(waitMs))
export const failed = (detail: string, waitMs: number, output: ReadonlyArray<string>) =>
  without("failed", detail, seconds(waitMs), output)
export const noPlan = (reason: "forbidden" | "invalid", detail: string) => without(reason, detail, 0)
