/** `Archives` in PostgreSQL. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import { Archives } from "../Archives.ts"
import { fragments } from "./Fragments.ts"
import { archiveRows } from "./Rows.ts"
import { read, write } from "./Run.ts"

/** As long as the machine ledger's. Each row that goes clears up to two that are older, so that they don't pile up. */
const goneKeptMs = 30 * 24 * 60 * 60_000

export const makeArchives = (sql: SqlClient.SqlClient, reads: SqlClient.SqlClient): Archives["Service"] => {
  const f = fragments(sql)
  const byExpiry = sql`ORDER BY a.url_expires_at, a.r2_key`

  return Archives.of({
    current: (projectUid) =>
      reads`
        SELECT to_json(a) AS archive FROM valet.archives a
        WHERE a.project_uid = ${projectUid} AND a.status = 'current'`.pipe(
        Effect.flatMap(archiveRows),
        Effect.map((rows) => Option.fromNullishOr(rows[0])),
        read("currentArchive")
      ),
    discardAbandoned: (limit) =>
      sql`
        WITH abandoned AS MATERIALIZED (
          SELECT a.r2_key FROM valet.archives a
          WHERE a.status = 'uploading' AND NOT EXISTS (
            SELECT FROM valet.projects p
            WHERE p.project_id = a.project_id AND p.uid = a.project_uid AND p.operation = 'archiving'
              AND p.generation = a.generation
          )
          ${byExpiry} LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
        )
        UPDATE valet.archives a SET status = 'discarded' FROM abandoned
        WHERE a.r2_key = abandoned.r2_key AND a.status = 'uploading' RETURNING true`.pipe(
        Effect.map((rows) => rows.length),
        write("discardAbandonedArchives")
      ),
    bin: ({ limit, marginMs }) =>
      reads`
        SELECT to_json(a) AS archive FROM valet.archives a
        WHERE a.status = 'discarded' AND a.url_expires_at <= valet.now() - valet.ms(${marginMs}::float8)
          AND (a.next_attempt_at IS NULL OR a.next_attempt_at <= valet.now())
        ${byExpiry} LIMIT ${limit}::int`.pipe(Effect.flatMap(archiveRows), read("archiveBin")),
    noteFailure: (r2Key, error, retryAfterMs) =>
      sql`
        UPDATE valet.archives
        SET attempts = attempts + 1, next_attempt_at = ${f.fromNow(retryAfterMs)}, last_error = ${error}
        WHERE r2_key = ${r2Key} AND status <> 'gone'`.pipe(Effect.asVoid, write("noteArchiveFailure")),
    markGone: (r2Key) =>
      sql`
        WITH forgotten AS (
          DELETE FROM valet.archives WHERE r2_key = ANY(ARRAY(
            SELECT r2_key FROM valet.archives
            WHERE status = 'gone' AND gone_at <= valet.now() - valet.ms(${goneKeptMs}::float8)
            ORDER BY gone_at LIMIT 2 FOR UPDATE SKIP LOCKED
          ))
        )
        UPDATE valet.archives SET status = 'gone', gone_at = valet.now()
        WHERE r2_key = ${r2Key} AND status = 'discarded' RETURNING true`.pipe(
        Effect.map((rows) => rows.length > 0),
        write("markArchiveGone")
      ),
    living: reads`
      SELECT to_json(a) AS archive FROM valet.archives a WHERE a.status <> 'gone' ${byExpiry}`.pipe(
      Effect.flatMap(archiveRows),
      read("livingArchives")
    )
  })
}
