/** `Plane` over the shared in-memory database. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { book } from "../../domain/RequestBudget.ts"
import { Plane } from "../../services/db/Plane.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"
import { runner } from "./StoreFaults.ts"

export const layerPlane = Layer.effect(
  Plane,
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const { tables } = database
    const run = yield* runner(database)

    return Plane.of({
      identify: (proposed) =>
        run("identify", () => {
          const stored = tables.identity ?? proposed
          const bucket = stored.bucket ?? (stored.flyApp === proposed.flyApp ? proposed.bucket : null)
          tables.identity = { ...stored, bucket }
          return tables.identity
        }),
      book: (input) =>
        run("book", (now) => {
          for (const [bucket, arrival] of tables.arrivals) if (arrival <= now) tables.arrivals.delete(bucket)
          const booked = book(input, tables.arrivals.get(input.bucket) ?? now, now)
          if (booked === null) return null
          tables.arrivals.set(input.bucket, booked.arrival)
          return booked.waitMs
        }),
      ready: run("ready", () => true)
    })
  })
)
