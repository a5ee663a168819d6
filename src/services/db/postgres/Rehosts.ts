/** Rehosting, and recovery where machine and volume are both gone. The rules are `domain/transitions/Rehost`. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { BegunRehost, Projects } from "../Projects.ts"
import { missingMachine } from "./ArchiveTransitions.ts"
import { fragments } from "./Fragments.ts"
import { foundRows } from "./Rows.ts"
import { write } from "./Run.ts"
import { refused, type Find } from "./Wakes.ts"

type Rehosts = Pick<Projects["Service"], "beginRehost" | "failRehost" | "recover">

export const makeRehosts = (sql: SqlClient.SqlClient, find: Find): Rehosts => {
  const f = fragments(sql)
  /** What a reader may miss: everything since the last archive. */
  const missing = sql`'machine', held.machine, 'archived_at', (
    SELECT floor(extract(epoch FROM a.created_at) * 1000)::bigint FROM valet.archives a
    WHERE a.project_uid = held.uid AND a.status = 'current')`

  const beginRehost: Rehosts["beginRehost"] = Effect.fnUntraced(function* (input) {
    const rows = yield* sql`
      WITH ${f.held(sql`
        project_id = ${input.projectId} AND state IN ('active', 'suspended') AND machine = ${input.machine}
        AND EXISTS (SELECT FROM valet.machines m WHERE m.name = machine)
        AND ((operation = 'rehosting' AND ${f.leaseExpired})
          OR (operation = 'none' AND (${input.force ?? false}::bool OR (NOT data_unavailable AND ${f.isDue}))))`)},
      ${f.after(f.begins("rehosting", input))},
      ${f.besideDiscarded(f.wasTakenOver)},
      ${f.uploadsDiscarded(f.wasTakenOver)},
      ${f.serving},
      ${f.events(f.takenOver, {
        kind: "rehost_begun",
        detail: sql`jsonb_build_object('machine', after.machine, 'reason', ${input.reason}::text)`
      })}
      SELECT to_json(after) AS project, to_json(serving) AS machine FROM after LEFT JOIN serving ON true`.pipe(
      Effect.flatMap(foundRows),
      write("beginRehost")
    )
    const row = rows[0]
    if (row === undefined) return yield* refused(find, input.projectId)
    if (row.machine === null) return yield* missingMachine("beginRehost", row.project.machine)
    return { _tag: "Begun", project: row.project, machine: row.machine } satisfies BegunRehost
  })

  const failRehost: Rehosts["failRehost"] = (input) =>
    sql`
      WITH ${f.held(sql`${f.isMine(input.lease)} AND operation = 'rehosting'`)},
      ${f.after(sql`
        ${f.ends}, ${f.withFailure(input.error, input.retryAfterMs)}, state = 'active',
        generation = held.generation + 1,
        data_unavailable = held.data_unavailable OR ${input.dataUnavailable}::bool`)},
      ${f.besideDiscarded()},
      ${f.events(
        { kind: "rehost_failed", detail: sql`jsonb_build_object('error', after.last_error)` },
        {
          kind: "data_unavailable",
          detail: sql`jsonb_build_object(${missing})`,
          when: sql`after.data_unavailable AND NOT held.data_unavailable`
        }
      )}
      SELECT true FROM after`.pipe(
      Effect.map((rows) => rows.length > 0),
      write("failRehost")
    )

  const recover: Rehosts["recover"] = Effect.fnUntraced(function* ({ from, projectId }) {
    const rows = yield* sql`
      WITH ${f.held(sql`project_id = ${projectId} AND data_unavailable AND operation = 'none'`)},
      ${f.after(sql`
        ${f.withoutFailures}, state = 'dormant', machine = NULL, dirty = false, data_unavailable = false`)},
      lost AS (
        UPDATE valet.machines m SET ${f.discards} FROM after JOIN held USING (project_id)
        WHERE m.name = held.machine AND m.status <> 'discarded'
      ),
      retired AS (
        UPDATE valet.archives a SET status = 'previous' FROM after
        WHERE ${from === "empty"}::bool AND a.project_uid = after.uid AND a.status = 'current'
      ),
      ${f.events({ kind: "recovered", detail: sql`jsonb_build_object('from', ${from}::text, ${missing})` })}
      SELECT to_json(after) AS project, NULL::json AS machine FROM after`.pipe(
      Effect.flatMap(foundRows),
      write("recover")
    )
    return rows[0]?.project ?? null
  })

  return { beginRehost, failRehost, recover }
}
