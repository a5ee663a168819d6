/** An answer of Fly that is not a success: the status, the text as Fly words it, and which of its two shapes it has. */
import * as Result from "effect/Result"

export type StatusCode = "unknown" | "insufficient_capacity" | "volume_placement_capacity" | "name_taken"

export interface Refusal {
  readonly _tag: "Refusal"
  readonly status: number
  readonly message: string
  /** `error` is `{error, status?}`; `lease` is `{status: "error", message}`, which leases answer with. */
  readonly shape: "error" | "lease"
  readonly code?: StatusCode
  /** Where the text names the machine that is in the way. */
  readonly existingId?: string
  readonly retryAfterSeconds?: number
}

export const refusal = (
  status: number,
  message: string,
  more: Partial<Pick<Refusal, "code" | "existingId" | "shape" | "retryAfterSeconds">> = {}
): Refusal => ({ _tag: "Refusal", status, message, shape: "error", ...more })

export const refuse = (
  status: number,
  message: string,
  more: Partial<Pick<Refusal, "code" | "existingId" | "shape" | "retryAfterSeconds">> = {}
): Result.Result<never, Refusal> => Result.fail(refusal(status, message, more))

export const invalid = (message: string) => refuse(400, `invalid_argument: ${message}`)
export const precondition = (message: string) => refuse(412, `failed_precondition: ${message}`)

export const refusalBody = (refusal: Refusal): Readonly<Record<string, unknown>> =>
  refusal.shape === "lease"
    ? { status: "error", message: refusal.message }
    : { error: refusal.message, ...(refusal.code === undefined ? {} : { status: refusal.code }) }
