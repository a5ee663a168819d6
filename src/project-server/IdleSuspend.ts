/**
 * The machine suspends itself when nobody uses it, through Fly's API socket inside the machine (no token needed).
 *
 * The timer is monotonic and looks in short steps: a step that took much longer than it should means that the machine
 * was frozen meanwhile, and what woke it (a request on its way) gets a whole idle timeout. The same after the call
 * returned, which it may do only once the machine runs again.
 */
import * as Http from "node:http"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Control } from "./Control.ts"
import * as Disk from "./Disk.ts"
import { Gate } from "./Gate.ts"
import { serves } from "./MachineState.ts"
import { ProjectServerConfig, type ProjectServerConfigValue } from "./ProjectServerConfig.ts"
import { StateFile } from "./StateFile.ts"

export class SuspendError extends Schema.TaggedError<SuspendError>()("SuspendError", { detail: Schema.String }) {
  override get message() {
    return `the machine could not be suspended: ${this.detail}`
  }
}

type SuspendTarget = NonNullable<ProjectServerConfigValue["suspend"]>

/** Fly answers within seconds, or when the machine runs again. */
const answerWithinMs = 30_000
/** The longest step: a change of the timeout is seen after it at the latest. */
const stepMs = 5_000
/** A step that took this much longer was not the event loop's doing. */
const frozenMs = 3_000
const firstBackoffMs = 30_000
const longestBackoffMs = 10 * 60_000

export class MachineSuspend extends Context.Service<
  MachineSuspend,
  { suspend(target: SuspendTarget): Effect.Effect<void, SuspendError> }
>()("valet/MachineSuspend") {
  static readonly layer = Layer.succeed(MachineSuspend, {
    suspend: ({ api, app, machine }) =>
      Effect.callback<void, SuspendError>((resume, signal) => {
        const fail = (detail: string) => resume(Effect.fail(new SuspendError({ detail })))
        const path = `/v1/apps/${encodeURIComponent(app)}/machines/${encodeURIComponent(machine)}/suspend`
        const base = /^https?:/.test(api) ? new URL(api) : null
        const where =
          base === null
            ? { socketPath: api, host: "flaps" }
            : { host: base.hostname.replace(/^\[|\]$/g, ""), port: base.port === "" ? 80 : Number(base.port) }
        const request = Http.request(
          { ...where, method: "POST", path, signal, agent: false, headers: { "content-length": 0 } },
          (response) => {
            response.resume()
            const status = response.statusCode ?? 0
            if (status >= 200 && status < 300) resume(Effect.void)
            else fail(`answered ${status}`)
          }
        )
        request.on("error", (error) => fail(Disk.codeOf(error)))
        request.end()
      }).pipe(
        Effect.timeoutOrElse({
          duration: answerWithinMs,
          orElse: () => Effect.fail(new SuspendError({ detail: "no answer" }))
        })
      )
  })
}

const milliseconds = (nanoseconds: bigint): number => Number(nanoseconds / 1_000_000n)

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const config = yield* ProjectServerConfig
    const target = config.suspend
    if (target === null) return
    const gate = yield* Gate
    const file = yield* StateFile
    const control = yield* Control
    const { suspend } = yield* MachineSuspend
    /** Nothing before this moment counts as idle time. */
    let restartedAt = yield* Clock.monotonicTimeNanos
    let backoffMs = 0

    const restart = Effect.map(Clock.monotonicTimeNanos, (now) => {
      restartedAt = now
    })

    /** Milliseconds until the machine may sleep; null: nothing is known that would end by itself. */
    const remaining = (now: bigint): number | null => {
      const state = file.current()
      const timeout = state.idle_timeout_seconds ?? config.idleTimeoutSeconds
      const since = gate.idleSince()
      if (timeout === 0 || since === null || !serves(state) || !gate.isOpen() || control.working()) return null
      const from = since > restartedAt ? since : restartedAt
      return Math.max(0, timeout * 1000 + backoffMs - milliseconds(now - from))
    }

    const clocks = Effect.zipWith(Clock.monotonicTimeNanos, Clock.currentTimeMillis, (monotonic, wall) => ({
      monotonicMs: milliseconds(monotonic),
      wallMs: wall
    }))

    /** An answer that was lost because the machine slept is no failure. */
    const sleep = Effect.gen(function* () {
      yield* Effect.logInfo("idle: suspending the machine")
      const before = yield* clocks
      const error = yield* suspend(target).pipe(
        Effect.as(null),
        Effect.catch((error) => Effect.succeed(error))
      )
      const after = yield* clocks
      const monotonicMs = after.monotonicMs - before.monotonicMs
      const slept =
        monotonicMs > answerWithinMs + frozenMs || after.wallMs - before.wallMs > Math.max(0, monotonicMs) + frozenMs
      if (error === null || slept) {
        backoffMs = 0
      } else {
        backoffMs = Math.min(longestBackoffMs, Math.max(firstBackoffMs, backoffMs * 2))
        yield* Effect.logWarning(error.message)
      }
      yield* restart
    })

    const step = Effect.gen(function* () {
      const before = yield* Clock.monotonicTimeNanos
      const left = remaining(before)
      if (left === 0) return yield* sleep
      // A pool machine may have waited for hours: its time begins when it serves.
      if (left === null) yield* restart
      const pause = Math.min(left ?? stepMs, stepMs)
      yield* Effect.sleep(Duration.millis(pause))
      const elapsed = milliseconds((yield* Clock.monotonicTimeNanos) - before)
      if (elapsed > pause + frozenMs) yield* restart
    })

    yield* Effect.forever(step).pipe(
      Effect.catchCause((cause) => Effect.logError("the idle timer ended", cause)),
      Effect.forkScoped
    )
  })
)
