/**
 * What a client of the in-memory database suffers: by default nothing. `before`: the statement never arrived, and the
 * client knows; `lost`: it never arrived, and the client can't know; `after`: it was carried out, but the answer was
 * lost. The effect may also wait, for latency, or never end, for a dead client.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { StoreError } from "../../services/db/StoreError.ts"
import { Link } from "../Link.ts"
import type { MemoryDatabase } from "./MemoryDatabase.ts"

export type StoreFault = "none" | "before" | "lost" | "after"

/** Read when a store's layer is built, so that each instance can have its own. */
export const StoreFaults = Context.Reference<(operation: string) => Effect.Effect<StoreFault>>(
  "valet/testing/StoreFaults",
  {
    defaultValue: () => () => Effect.succeed("none")
  }
)

export type Run = <A>(operation: string, body: (now: number) => A) => Effect.Effect<A, StoreError>

export const runner = (database: MemoryDatabase["Service"]): Effect.Effect<Run> =>
  Effect.gen(function* () {
    const faults = yield* StoreFaults
    const link = yield* Link
    const lost = (operation: string) =>
      Effect.fail(new StoreError({ operation, reason: "UnknownOutcome", detail: "injected: connection lost" }))
    const answered: Run = (operation, body) =>
      Effect.flatMap(faults(operation), (fault) => {
        switch (fault) {
          case "none":
            return database.atomically(body)
          case "before":
            return Effect.fail(
              new StoreError({ operation, reason: "Unavailable", detail: "injected: connection refused" })
            )
          case "lost":
            return lost(operation)
          case "after":
            return Effect.andThen(database.atomically(body), lost(operation))
        }
      })
    const run: Run = (operation, body) => link("database", operation)(answered(operation, body))
    return run
  })
