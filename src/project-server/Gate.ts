/**
 * Who is being served, and whether anybody may be. Shut, it admits nothing more; what was admitted before is counted
 * until it is finished. Activity is told by two clocks: the wall clock, which a suspended machine's sleep moves, for "not
 * used for a week", and the monotonic one for the idle timer.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"

export class Gate extends Context.Service<
  Gate,
  {
    readonly isOpen: () => boolean
    readonly open: () => void
    readonly shut: () => void
    /** A request begins; false where the gate is shut. `leave` ends it. */
    readonly enter: () => boolean
    readonly leave: () => void
    readonly connected: () => void
    readonly disconnected: () => void
    /** Something was asked on a connection that is open anyway. */
    readonly touch: () => void
    readonly connections: () => number
    readonly inFlight: () => number
    /** Whole seconds since anything was served; null: nothing since the server started. 0 while somebody is. */
    readonly idleSeconds: () => number | null
    /** Monotonic nanoseconds of the last activity, or of the start; null while somebody is served. */
    readonly idleSince: () => bigint | null
    /** Returns when no request is in flight. */
    readonly empty: Effect.Effect<void>
  }
>()("valet/Gate") {
  static readonly layer = Layer.effect(
    Gate,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const empty = yield* Latch.make(true)
      let open = false
      let inFlight = 0
      let connections = 0
      let servedAt: number | null = null
      let activeAt = clock.monotonicTimeNanosUnsafe()
      const touch = () => {
        servedAt = clock.currentTimeMillisUnsafe()
        activeAt = clock.monotonicTimeNanosUnsafe()
      }
      const busy = () => connections > 0 || inFlight > 0
      return Gate.of({
        isOpen: () => open,
        open: () => {
          open = true
        },
        shut: () => {
          open = false
        },
        enter: () => {
          if (!open) return false
          touch()
          if (inFlight++ === 0) empty.closeUnsafe()
          return true
        },
        leave: () => {
          touch()
          if (--inFlight === 0) empty.openUnsafe()
        },
        connected: () => {
          touch()
          connections++
        },
        disconnected: () => {
          touch()
          connections--
        },
        touch,
        connections: () => connections,
        inFlight: () => inFlight,
        idleSeconds: () =>
          busy()
            ? 0
            : servedAt === null
              ? null
              : Math.max(0, Math.floor((clock.currentTimeMillisUnsafe() - servedAt) / 1000)),
        idleSince: () => (busy() ? null : activeAt),
        empty: empty.await
      })
    })
  )
}
