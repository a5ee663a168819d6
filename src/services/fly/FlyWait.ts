/** Waiting for a machine's state: Fly's waits last a minute at most, so a longer one is made of several. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { FlyMachine } from "./Fly.ts"
import type { FlyCall } from "./FlyCall.ts"
import { FlyError, WaitTimeout } from "./FlyError.ts"
import * as FlyMachines from "./FlyMachines.ts"

/** Fly's limits of one wait, in seconds. */
const SHORTEST = 1
const LONGEST = 60
/** For the answer to a wait that has just expired at Fly. */
const GRACE_MS = 5_000
/** Keeps an answer that comes at once from being asked for in a spin. */
const PAUSE = "500 millis"

export type Awaited = "started" | "stopped" | "suspended" | "destroyed"

export const make = (fly: FlyCall, getMachine: (machineId: string) => Effect.Effect<FlyMachine, FlyError>) => {
  const waitOnce = Effect.fnUntraced(function* (machineId: string, state: Awaited, deadline: number) {
    // Fly asks for the version here: the one before may have stopped as well.
    const version = state === "stopped" ? { instance_id: (yield* getMachine(machineId)).instanceId } : {}
    const left = deadline - (yield* Clock.currentTimeMillis)
    const seconds = Math.min(LONGEST, Math.max(SHORTEST, Math.floor(left / 1000)))
    yield* fly.text({
      operation: "waitForState",
      method: "GET",
      path: FlyMachines.path(machineId, "/wait"),
      query: { state, timeout: String(seconds), ...version },
      effects: "wait",
      identifier: machineId,
      attemptMs: seconds * 1000 + GRACE_MS,
      deadline
    })
  })

  const waitForState = Effect.fn("Fly.waitForState")(function* (machineId: string, state: Awaited, timeoutMs: number) {
    const deadline = (yield* Clock.currentTimeMillis) + timeoutMs
    while ((yield* Clock.currentTimeMillis) < deadline) {
      const reached = yield* waitOnce(machineId, state, deadline).pipe(
        Effect.as(true),
        Effect.catchIf(
          ({ reason }) => reason._tag === "NotFound" && state === "destroyed",
          () => Effect.succeed(true)
        ),
        Effect.catchIf(
          ({ reason }) => reason._tag === "WaitTimeout" || reason._tag === "Transient",
          () => Effect.as(Effect.sleep(PAUSE), false)
        )
      )
      if (reached) return
    }
    const reason = new WaitTimeout({ detail: `not ${state} within ${timeoutMs} ms` })
    return yield* new FlyError({ operation: "waitForState", reason })
  })

  return {
    waitForState,
    waitForMachine: (machineId: string, timeoutMs: number) => waitForState(machineId, "started", timeoutMs)
  }
}
