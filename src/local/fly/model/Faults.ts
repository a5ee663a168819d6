/** Faults as data: which calls they hit, and what happens to those. */
import * as Schema from "effect/Schema"
import type { Draft } from "./Draft.ts"
import { random } from "./Draft.ts"
import type { Call } from "./Operations.ts"
import { operations } from "./Operations.ts"
import type { Refusal } from "./Refusal.ts"
import { refusal } from "./Refusal.ts"

/** Before: nothing was done. After: it was done, and the caller is not told so. */
const When = Schema.Literals(["before", "after"])

export const Fault = Schema.Union([
  /** 409 host full, 412 no room beside the volume, 422 no host in the region. */
  Schema.Struct({ kind: Schema.Literal("capacity"), status: Schema.Literals([409, 412, 422]) }),
  Schema.Struct({ kind: Schema.Literal("rate_limit"), retry_after_seconds: Schema.optionalKey(Schema.Int) }),
  /** 408 `deadline_exceeded`. */
  Schema.Struct({ kind: Schema.Literal("timeout"), effect: When }),
  Schema.Struct({ kind: Schema.Literal("error"), status: Schema.Int, effect: When }),
  Schema.Struct({ kind: Schema.Literal("latency"), ms: Schema.Int }),
  Schema.Struct({ kind: Schema.Literal("empty_list") }),
  /** The connection breaks without an answer. */
  Schema.Struct({ kind: Schema.Literal("drop"), effect: When }),
  /** The connection breaks without an answer, and it is done only so much later. */
  Schema.Struct({ kind: Schema.Literal("late"), ms: Schema.Int })
])
export type Fault = typeof Fault.Type

export const FaultRule = Schema.Struct({
  match: Schema.Struct({
    /** Name of the operation (`createMachine`); every operation if left out. */
    operation: Schema.optionalKey(Schema.Literals(operations)),
    app: Schema.optionalKey(Schema.String),
    /** Id or name of the machine or volume that the call is about. */
    target: Schema.optionalKey(Schema.String),
    region: Schema.optionalKey(Schema.String),
    /** Only the nth matching call, counted from one. */
    nth: Schema.optionalKey(Schema.Int),
    /** 0 to 1. */
    probability: Schema.optionalKey(Schema.Finite)
  }),
  /** After so many hits the rule is spent. */
  times: Schema.optionalKey(Schema.Int),
  fault: Fault
})
export type FaultRule = typeof FaultRule.Type

export interface ActiveFault {
  readonly rule: FaultRule
  readonly seen: number
  readonly hits: number
}

export const activate = (rule: FaultRule): ActiveFault => ({ rule, seen: 0, hits: 0 })

export interface Verdict {
  readonly latencyMs: number
  readonly fault: Exclude<Fault, { readonly kind: "latency" }> | null
}

const concerns = ({ match }: FaultRule, call: Call): boolean =>
  (match.operation === undefined || match.operation === call.operation) &&
  (match.app === undefined || match.app === call.app) &&
  (match.target === undefined || match.target === call.target || match.target === call.name) &&
  (match.region === undefined || match.region === call.region)

/** Counts the call against every rule that concerns it. All latencies add up; of other faults the first rule's wins. */
export const judge = (draft: Draft, call: Call): Verdict => {
  if (draft.state.faults.length === 0) return { latencyMs: 0, fault: null }
  let latencyMs = 0
  let fault: Verdict["fault"] = null
  const faults = draft.state.faults.map((active): ActiveFault => {
    const { rule } = active
    if (!concerns(rule, call) || (rule.times !== undefined && active.hits >= rule.times)) return active
    const seen = active.seen + 1
    const hit =
      (rule.match.nth === undefined || rule.match.nth === seen) &&
      (rule.match.probability === undefined || random(draft) < rule.match.probability) &&
      (rule.fault.kind === "latency" || fault === null)
    if (!hit) return { ...active, seen }
    if (rule.fault.kind === "latency") latencyMs += rule.fault.ms
    else fault = rule.fault
    return { ...active, seen, hits: active.hits + 1 }
  })
  draft.state = { ...draft.state, faults }
  return { latencyMs, fault }
}

const capacity: Readonly<Record<409 | 412 | 422, Refusal>> = {
  409: refusal(
    409,
    "aborted: could not reserve resource for machine: insufficient CPUs available to fulfill request on the current host"
  ),
  412: refusal(412, "insufficient resources to create new machine with existing volume", {
    code: "volume_placement_capacity"
  }),
  422: refusal(422, "could not find a candidate host", { code: "insufficient_capacity" })
}

/** How a faulted call is answered; null where the connection just breaks. */
export const faultAnswer = (
  fault: Exclude<Fault, { readonly kind: "latency" | "empty_list" | "late" }>
): Refusal | null => {
  switch (fault.kind) {
    case "capacity":
      return capacity[fault.status]
    case "rate_limit":
      return refusal(
        429,
        "rate limit exceeded",
        fault.retry_after_seconds === undefined ? {} : { retryAfterSeconds: fault.retry_after_seconds }
      )
    case "timeout":
      return refusal(408, "deadline_exceeded: context deadline exceeded")
    case "error":
      return refusal(fault.status, fault.status === 503 ? "unavailable: try again later" : "internal: server error")
    case "drop":
      return null
  }
}
