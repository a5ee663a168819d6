/**
 * How a call is made of single requests, whatever carries them: waiting for a machine that boots, retries of what may
 * or may not have arrived, polls while it answers 202, and one limit around everything.
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import { limits } from "../../contract/MachineProtocol.ts"
import type { Keys } from "../Keys.ts"
import { type Answer, type Call, calls, Failure } from "./MachineAnswer.ts"
import { type CallOptions, MachineClient, MachineError, Refused, type Target, Unreachable } from "./MachineClient.ts"

/** 5 retries: 0.2, 0.4, 0.8, 1.6 and 3.2 s behind each other, give or take a fifth. */
const backoffMs = 200
const defaultAttempts = 6
/** How often, and how long at most, to look for a machine that does not listen yet. */
const bootPollMs = 250
const bootMs = 60_000
/** A long call is answered with 202 before that; the margin is for a slow start of its work. */
const longRequestMs = limits.longCallMs + 5_000
const shortRequestMs = 5_000
/** Between two polls of a call that answers 202 at once. */
const pollMs = 200

export interface MachineRequest<A> {
  readonly call: Call<A>
  readonly target: Target
  readonly secret: Redacted.Redacted
  readonly body: unknown
  /** For one address; the machine may have done it all the same. */
  readonly timeoutMs: number
}

/** One request and its answer. */
export type Send = <A>(request: MachineRequest<A>) => Effect.Effect<Answer<A>, Failure>

const persistent = <A>(request: Effect.Effect<A, Failure>, attempts: number): Effect.Effect<A, Failure> =>
  attempts <= 1
    ? request
    : request.pipe(
        Effect.retry({
          schedule: Schedule.spaced(bootPollMs).pipe(Schedule.jittered, Schedule.upTo({ duration: bootMs })),
          while: ({ retry }) => retry === "boot"
        }),
        Effect.retry({
          schedule: Schedule.exponential(backoffMs).pipe(Schedule.jittered),
          times: attempts - 1,
          while: ({ retry }) => retry === "again"
        })
      )

const machineSecret = (keys: Keys["Service"], target: Target) =>
  Effect.mapError(
    keys.machineSecret(target.name, target.keyId),
    ({ message }) => new Failure(new Refused({ status: 401, detail: message }), "no")
  )

export const machineClient = (send: Send, keys: Keys["Service"]): MachineClient["Service"] => {
  const run = Effect.fnUntraced(function* <A>(
    call: Call<A>,
    target: Target,
    body: unknown,
    last: Ref.Ref<string>,
    { limitMs, attempts = defaultAttempts, onProgress }: CallOptions
  ): Effect.fn.Return<A, Failure> {
    const secret = yield* machineSecret(keys, target)
    const timeoutMs = Math.min(limitMs, call.long ? longRequestMs : shortRequestMs)
    const request = Effect.tapError(send({ call, target, secret, body, timeoutMs }), ({ reason }) =>
      Ref.set(last, reason.detail)
    )
    for (;;) {
      const answer = yield* persistent(request, attempts)
      if (answer._tag === "Done") return answer.value
      if (onProgress !== undefined) yield* onProgress(answer.bytes)
      yield* Effect.sleep(pollMs)
    }
  })

  const limited = Effect.fnUntraced(
    function* <A>(call: Call<A>, target: Target, body: unknown, options: CallOptions): Effect.fn.Return<A, Failure> {
      const last = yield* Ref.make("no answer")
      const late = Effect.flatMap(Ref.get(last), (detail) =>
        Effect.fail(new Failure(new Unreachable({ detail: `not done within ${options.limitMs} ms: ${detail}` }), "no"))
      )
      return yield* Effect.timeoutOrElse(run(call, target, body, last, options), {
        duration: options.limitMs,
        orElse: () => late
      })
    },
    (effect, call, target) =>
      effect.pipe(
        Effect.mapError(({ reason }) => new MachineError({ call: call.name, machine: target.name, reason })),
        Effect.withSpan(`MachineClient.${call.name}`, { attributes: { machine: target.name } })
      )
  )

  return MachineClient.of({
    configure: (target, body, options) => limited(calls.configure, target, body, options),
    archiveToR2: (target, body, options) => limited(calls.archiveToR2, target, body, options),
    unseal: (target, body, options) => limited(calls.unseal, target, body, options),
    settings: (target, body, options) => limited(calls.settings, target, body, options),
    health: (target, options) => limited(calls.health, target, undefined, options)
  })
}
