/**
 * Why a call to Fly failed, told apart by what the caller must do next. The mapping from Fly's answers is in
 * `FlyHttp`; the answers themselves are listed in Fly's documentation and in the tests of the mapping.
 */
import * as Schema from "effect/Schema"

/** No room: host, volume placement, region or organization quota. Another region or host may do. */
export class Capacity extends Schema.TaggedError<Capacity>()("Capacity", {
  scope: Schema.Literals(["host", "volume_placement", "region", "quota"]),
  detail: Schema.String
}) {}
/** It did not happen and may work later: 502, 503, 412 of a machine in between two states. */
export class Transient extends Schema.TaggedError<Transient>()("Transient", { detail: Schema.String }) {}
/** The thing exists, is bound, leased or changed under us. `existingId` where Fly names it (unique machine name). */
export class Conflict extends Schema.TaggedError<Conflict>()("Conflict", {
  detail: Schema.String,
  existingId: Schema.NullOr(Schema.String)
}) {}
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { detail: Schema.String }) {}
export class RateLimited extends Schema.TaggedError<RateLimited>()("RateLimited", {
  /** By Fly, or because others had booked the plane's own budget: then nothing was sent. */
  by: Schema.Literals(["fly", "budget"]),
  retryAfterMs: Schema.Int,
  detail: Schema.String
}) {}
/** Timed out or the connection broke after the request was sent: it may have happened. Look again. */
export class UnknownOutcome extends Schema.TaggedError<UnknownOutcome>()("UnknownOutcome", { detail: Schema.String }) {}
/** A wait that ended before its state was reached; nothing is wrong yet. */
export class WaitTimeout extends Schema.TaggedError<WaitTimeout>()("WaitTimeout", { detail: Schema.String }) {}
/** Fly refuses the request or the token: a fault of ours or of the configuration. Never retried. */
export class Rejected extends Schema.TaggedError<Rejected>()("Rejected", {
  status: Schema.Int,
  detail: Schema.String
}) {}

const Reason = Schema.Union([
  Capacity,
  Transient,
  Conflict,
  NotFound,
  RateLimited,
  UnknownOutcome,
  WaitTimeout,
  Rejected
])

export class FlyError extends Schema.TaggedError<FlyError>()("FlyError", {
  operation: Schema.String,
  reason: Reason
}) {
  override get message() {
    return `Fly ${this.operation}: ${this.reason._tag}: ${this.reason.detail}`
  }
  /** Doing the same call again later may succeed. An unknown outcome is not: it wants a look first. */
  get retryable(): boolean {
    return this.reason._tag === "Transient" || this.reason._tag === "RateLimited" || this.reason._tag === "WaitTimeout"
  }
}
