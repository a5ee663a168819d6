/** Looks at Fly until "gone" is confirmed by the rule of `domain/Gone`, or the thing is there after all. */
import * as Effect from "effect/Effect"
import { Fly } from "../../services/fly/Fly.ts"

/** Two looks this far apart: Fly's answers are eventually consistent, and a listing of theirs was once empty. */
const apartMs = 60_000

const twice = <R, E>(absent: Effect.Effect<boolean, E, R>) =>
  Effect.gen(function* () {
    if (!(yield* absent)) return false
    yield* Effect.sleep(apartMs)
    return yield* absent
  })

export const machineGone = (machineId: string) =>
  twice(
    Effect.flatMap(Fly, (fly) =>
      fly.getMachine(machineId).pipe(
        Effect.map((machine) => machine.state === "destroyed"),
        Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(true))
      )
    )
  )

export const volumeGone = (volumeId: string) =>
  twice(
    Effect.flatMap(Fly, (fly) =>
      fly.getVolume(volumeId).pipe(
        Effect.map((volume) => volume.state === "destroyed"),
        Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(true))
      )
    )
  )
