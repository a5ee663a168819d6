/**
 * A machine refuses a generation below the newest that it has seen and names it. A holder whose compare-and-set still
 * succeeds goes on with newest + 1, once; one whose does not has been taken over.
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { Lease } from "../../domain/Project.ts"
import { Projects } from "../../services/db/Projects.ts"
import { lost } from "./Lease.ts"
import { MachineError } from "../../services/machine/MachineClient.ts"

export const raising = <A, E, R>(holder: Ref.Ref<Lease>, call: (lease: Lease) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const lease = yield* Ref.get(holder)
    return yield* call(lease).pipe(
      Effect.catch((error) =>
        Effect.gen(function* () {
          const newest =
            error instanceof MachineError && error.reason._tag === "Stale" ? error.reason.newestGeneration : 0
          if (newest < lease.generation) return yield* Effect.fail(error)
          const raised = yield* projects.raiseGeneration(lease, newest)
          if (raised === null) return yield* lost(lease)
          yield* Ref.set(holder, raised)
          return yield* call(raised)
        })
      )
    )
  })
