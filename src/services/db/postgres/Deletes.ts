/** Deleting, to a tombstone. The rules are `domain/transitions/Delete`. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Projects } from "../Projects.ts"
import { fragments } from "./Fragments.ts"
import { foundRows } from "./Rows.ts"
import { write } from "./Run.ts"
import { refused, type Find } from "./Wakes.ts"

type Deletes = Pick<Projects["Service"], "beginDelete" | "commitDelete">

export const makeDeletes = (sql: SqlClient.SqlClient, find: Find): Deletes => {
  const f = fragments(sql)

  const beginDelete: Deletes["beginDelete"] = Effect.fnUntraced(function* (input) {
    const rows = yield* sql`
      WITH ${f.held(sql`
        project_id = ${input.projectId} AND state <> 'deleted'
        AND (operation = 'none' OR ${input.force}::bool OR ${f.leaseExpired})`)},
      ${f.after(f.begins("deleting", input))},
      ${f.besideDiscarded(f.wasTakenOver)},
      ${f.uploadsDiscarded(f.wasTakenOver)},
      ${f.events(f.takenOver, { kind: "delete_begun" })}
      SELECT to_json(after) AS project, NULL::json AS machine FROM after`.pipe(
      Effect.flatMap(foundRows),
      write("beginDelete")
    )
    const row = rows[0]
    return row === undefined ? yield* refused(find, input.projectId) : { _tag: "Begun" as const, project: row.project }
  })

  const commitDelete: Deletes["commitDelete"] = ({ lease, machineDeleteAfterMs }) =>
    sql`
        WITH ${f.held(sql`${f.isMine(lease)} AND operation = 'deleting'`)},
        ${f.after(sql`
          ${f.ends}, ${f.withoutFailures}, state = 'deleted', machine = NULL, dirty = false,
          data_unavailable = false, deleted_at = valet.now()`)},
        binned AS (
          UPDATE valet.machines m SET ${f.releases(machineDeleteAfterMs)}
          FROM after WHERE m.project = after.project_id AND m.status <> 'gone'
        ),
        unwanted AS (
          UPDATE valet.archives a SET status = 'discarded' FROM after
          WHERE a.project_uid = after.uid AND a.status IN ('uploading', 'current', 'previous')
        ),
        ${f.events({ kind: "deleted" })}
        SELECT true FROM after`.pipe(
      Effect.map((rows) => rows.length > 0),
      write("commitDelete")
    )

  return { beginDelete, commitDelete }
}
