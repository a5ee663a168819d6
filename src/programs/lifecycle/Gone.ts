/** Looks at Fly until the rule of `domain/Gone` confirms that something is gone, or a look shows that it is there. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Margins } from "../../config/Margins.ts"
import type { Look } from "../../domain/Gone.ts"
import * as Gone from "../../domain/Gone.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { MachineClient } from "../../services/machine/MachineClient.ts"

/** Between a look that shows nothing and the one that confirms it at most this many more. */
const looks = 4
const healthMs = 2_000

const missing = Effect.map(Clock.currentTimeMillis, (at): Look => ({ _tag: "Missing", at }))

const lookAtMachine = (machineId: string) =>
  Effect.gen(function* () {
    const fly = yield* Fly
    return yield* fly.getMachine(machineId).pipe(
      Effect.flatMap((machine) =>
        Effect.map(Clock.currentTimeMillis, (at): Look => ({
          _tag: "Found",
          at,
          state: machine.state,
          hostStatus: machine.hostStatus
        }))
      ),
      Effect.catchReason("FlyError", "NotFound", () => missing)
    )
  })

const lookAtVolume = (volumeId: string) =>
  Effect.gen(function* () {
    const fly = yield* Fly
    return yield* fly.getVolume(volumeId).pipe(
      Effect.flatMap((volume) =>
        Effect.map(
          Clock.currentTimeMillis,
          (at): { readonly look: Look; readonly attachedMachineId: string | null } => ({
            look: { _tag: "Found", at, state: volume.state, hostStatus: volume.hostStatus },
            attachedMachineId: volume.attachedMachineId
          })
        )
      ),
      Effect.catchReason("FlyError", "NotFound", () =>
        Effect.map(missing, (look) => ({ look, attachedMachineId: null }))
      )
    )
  })

/** Deletes the row's machine by force and tells whether it is confirmed gone; false where a look shows it alive. */
export const destroyed = Effect.fn("destroyed")(function* (row: MachineRow) {
  const fly = yield* Fly
  const client = yield* MachineClient
  const { goneApartMs } = yield* Margins
  if (row.machineId === null) return true
  yield* fly.deleteMachine(row.machineId)
  const seen: Array<Look> = [{ _tag: "Deleted", at: yield* Clock.currentTimeMillis }]
  for (let look = 0; look < looks; look++) {
    seen.push(yield* lookAtMachine(row.machineId))
    if (row.volumeId !== null) {
      const { attachedMachineId } = yield* lookAtVolume(row.volumeId)
      seen.push({ _tag: "Volume", at: yield* Clock.currentTimeMillis, attachedMachineId })
    }
    const answered = yield* client.health(row, { limitMs: healthMs, attempts: 1 }).pipe(
      // Its address may be another machine's by now.
      Effect.map((health) => health.project_id === row.project),
      Effect.catchReason("MachineError", "Unreachable", () => Effect.succeed(false))
    )
    seen.push({ _tag: "Health", at: yield* Clock.currentTimeMillis, answered })
    if (Gone.machineGone(seen, goneApartMs)) return true
    yield* Effect.sleep(goneApartMs)
  }
  return false
})

export const volumeGone = Effect.fn("volumeGone")(function* (volumeId: string) {
  const { goneApartMs } = yield* Margins
  const first = (yield* lookAtVolume(volumeId)).look
  if (!Gone.volumeGone([first, { ...first, at: first.at + goneApartMs }], goneApartMs)) return false
  yield* Effect.sleep(goneApartMs)
  return Gone.volumeGone([first, (yield* lookAtVolume(volumeId)).look], goneApartMs)
})
