/** One thing that was looked at. */
import * as Effect from "effect/Effect"

export interface Finding {
  readonly check: string
  readonly outcome: "ok" | "warning" | "failed" | "skipped"
  readonly detail: string
  /** What to do about it. */
  readonly advice: string | null
}

export const ok = (check: string, detail: string): Finding => ({ check, outcome: "ok", detail, advice: null })
export const skipped = (check: string, detail: string): Finding => ({ check, outcome: "skipped", detail, advice: null })
export const warning = (check: string, detail: string, advice: string): Finding => ({
  check,
  outcome: "warning",
  detail,
  advice
})
export const failed = (check: string, detail: string, advice: string): Finding => ({
  check,
  outcome: "failed",
  detail,
  advice
})

/** A check that hangs has failed. */
const limitMs = 20_000

/** A failure becomes a finding with this advice. */
export const finding = <E extends { readonly message: string }, R>(
  check: string,
  advice: string,
  effect: Effect.Effect<Finding, E, R>
): Effect.Effect<Finding, never, R> =>
  effect.pipe(
    Effect.catch((error) => Effect.succeed(failed(check, error.message, advice))),
    Effect.timeoutOrElse({
      duration: limitMs,
      orElse: () => Effect.succeed(failed(check, `no answer within ${limitMs / 1_000} s`, advice))
    })
  )
