/** `Plane` in PostgreSQL. The budget's rule is `domain/RequestBudget`, said in SQL because instances share it. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { Plane, type PlaneIdentity } from "../Plane.ts"
import type { StoreError } from "../StoreError.ts"
import { write } from "./Run.ts"

const decodeIdentity = Schema.decodeUnknownEffect(
  Schema.Tuple([
    Schema.Struct({ plane_id: Schema.String, fly_app: Schema.String, bucket: Schema.NullOr(Schema.String) })
  ])
)
const decodeWait = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ wait_ms: Schema.Int })))

export const makePlane = (sql: SqlClient.SqlClient, ready: Effect.Effect<boolean, StoreError>): Plane["Service"] => {
  return Plane.of({
    identify: (proposed) =>
      sql`
        INSERT INTO valet.identity AS i (plane_id, fly_app, bucket)
        VALUES (${proposed.planeId}, ${proposed.flyApp}, ${proposed.bucket})
        ON CONFLICT (singleton) DO UPDATE
        SET bucket = CASE WHEN i.fly_app = excluded.fly_app THEN coalesce(i.bucket, excluded.bucket) ELSE i.bucket END
        RETURNING plane_id, fly_app, bucket`.pipe(
        Effect.flatMap(decodeIdentity),
        Effect.map(([row]): PlaneIdentity => ({ planeId: row.plane_id, flyApp: row.fly_app, bucket: row.bucket })),
        write("identify")
      ),
    book: (input) => {
      const interval = sql`valet.ms(${input.intervalMs}::float8)`
      // Each booking adds at most one row and clears up to two whose buckets are full again.
      /** `arrival` is when a request booked now would be due if there were no burst. */
      const waitMs = (arrival: ReturnType<typeof sql.literal>) => sql`
        greatest(0, ceil(extract(epoch FROM ${arrival} - valet.now()) * 1000
          - ${(input.burst - input.reserve - 1) * input.intervalMs}::float8))`
      return sql`
        WITH past AS (
          DELETE FROM valet.fly_budget WHERE bucket = ANY(ARRAY(
            SELECT bucket FROM valet.fly_budget WHERE arrival_at <= valet.now() AND bucket <> ${input.bucket}
            ORDER BY arrival_at LIMIT 2 FOR UPDATE SKIP LOCKED
          ))
        )
        INSERT INTO valet.fly_budget AS b (bucket, arrival_at)
        SELECT ${input.bucket}, valet.now() + ${interval}
        WHERE EXISTS (SELECT FROM valet.fly_budget WHERE bucket = ${input.bucket})
          OR ${waitMs(sql`valet.now()`)} <= ${input.maxWaitMs}::float8
        ON CONFLICT (bucket) DO UPDATE SET arrival_at = greatest(b.arrival_at, valet.now()) + ${interval}
        WHERE ${waitMs(sql`greatest(b.arrival_at, valet.now())`)} <= ${input.maxWaitMs}::float8
        RETURNING ${waitMs(sql`(arrival_at - ${interval})`)}::int AS wait_ms`.pipe(
        Effect.flatMap(decodeWait),
        Effect.map((rows) => rows[0]?.wait_ms ?? null),
        write("book")
      )
    },
    ready
  })
}
