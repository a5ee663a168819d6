/**
 * A commit whose answer was lost may have happened: the row tells. Mine and committed → done; still mine → once more;
 * else the lease is lost.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type { MachineName } from "../../domain/Machine.ts"
import { holds } from "../../domain/Project.ts"
import type { Lease } from "../../domain/Project.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import { StoreError } from "../../services/db/StoreError.ts"
import { lost } from "./Lease.ts"

/** Reads of a row after an unknown outcome: a second apart for as long as a lease lives. */
export const lookAgain = Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(10)])

export const committed = Effect.fn("committed")(function* (holder: Ref.Ref<Lease>, machine: MachineName) {
  const projects = yield* Projects
  const lease = yield* Ref.get(holder)
  const once = projects.commitActive({ lease, machine })
  const look = projects.find(lease.projectId).pipe(Effect.retry(lookAgain))
  const decide = (view: ProjectView | null): Effect.Effect<ProjectView, StoreError | ReturnType<typeof lost>> => {
    if (view === null) return Effect.fail(lost(lease))
    const mine = view.project.generation === lease.generation && view.project.machine === machine
    if (mine && view.project.operation === "none") return Effect.succeed(view)
    if (!holds(view.project, lease)) return Effect.fail(lost(lease))
    return Effect.fail(
      new StoreError({ operation: "commitActive", reason: "Unavailable", detail: "not committed yet" })
    )
  }
  const lookAndDecide = Effect.flatMap(look, (found) => decide(Option.getOrNull(found)))
  return yield* once.pipe(
    Effect.catchIf(
      (error) => error.reason === "UnknownOutcome",
      () => lookAndDecide
    ),
    Effect.retry({ while: (error) => error._tag === "StoreError" && error.retryable, schedule: lookAgain }),
    Effect.filterOrElse(
      (view) => view !== null,
      () => lookAndDecide
    )
  )
})
