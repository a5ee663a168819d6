/** Dormant → active. With a pool machine: begin and claim in one statement, one machine call, one commit. */
import * as Effect from "effect/Effect"
import * as Clock from "effect/Clock"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Locks } from "../../services/locks/Locks.ts"
import * as Ids from "../Ids.ts"
import { begunWake, mineAfterAll } from "./Begin.ts"
import { bringUp } from "./BringUp.ts"

/** `Refused` where the row did not allow it: another instance was first, or the project is something else by now. */
export const wake = Effect.fn("wake")(function* (
  projectId: ProjectId,
  options: { readonly region: string; readonly force: boolean }
) {
  const { fly } = yield* PlaneConfig
  const locks = yield* Locks
  const operationId = yield* Ids.operationId
  const since = yield* Clock.currentTimeMillis
  const begun = yield* locks
    .tryAcquireWakeLock({
      projectId,
      operationId,
      claim: { image: fly.image, region: options.region },
      force: options.force
    })
    .pipe(mineAfterAll(projectId, operationId, begunWake))
  if (begun._tag === "Refused") return begun
  const begin = (yield* Clock.currentTimeMillis) - since
  const result = yield* bringUp("wake", begun)
  return { _tag: "Woken" as const, ...result, timings: { begin, ...result.timings } }
})
