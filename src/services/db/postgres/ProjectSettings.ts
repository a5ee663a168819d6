/** Changes of a project that begin and end no operation: settings, activity, events of their own. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Projects } from "../Projects.ts"
import { fragments } from "./Fragments.ts"
import { foundRows, viewOf } from "./Rows.ts"
import { write } from "./Run.ts"

type Changes = Pick<Projects["Service"], "updateSettings" | "touch" | "record">

export const makeProjectSettings = (sql: SqlClient.SqlClient): Changes => {
  const f = fragments(sql)
  const json = (value: object) => sql`${PgTypes.jsonb(value)}::jsonb`

  const updateSettings: Changes["updateSettings"] = (projectId, patch) =>
    sql`
      WITH ${f.held(sql`project_id = ${projectId} AND state <> 'deleted'`)},
      patch AS (SELECT ${json(patch)} AS p),
      after AS (
        UPDATE valet.projects p SET
          idle_timeout_seconds = CASE WHEN patch.p ? 'idleTimeoutSeconds'
            THEN (patch.p ->> 'idleTimeoutSeconds')::int ELSE held.idle_timeout_seconds END,
          dormancy_threshold_seconds = CASE WHEN patch.p ? 'dormancyThresholdSeconds'
            THEN (patch.p ->> 'dormancyThresholdSeconds')::int ELSE held.dormancy_threshold_seconds END,
          pinned = CASE WHEN patch.p ? 'pinned' THEN (patch.p ->> 'pinned')::bool ELSE held.pinned END
        FROM held, patch WHERE p.project_id = held.project_id RETURNING p.*
      ),
      ${f.serving},
      ${f.events({ kind: "settings_changed", detail: json(patch) })}
      SELECT to_json(after) AS project, to_json(serving) AS machine FROM after LEFT JOIN serving ON true`.pipe(
      Effect.flatMap(foundRows),
      Effect.map((rows) => Option.fromNullishOr(viewOf(rows))),
      write("updateSettings")
    )

  /** Locked in the order of their ids, so that two instances with the same projects don't deadlock. */
  const touch: Changes["touch"] = (projectIds) =>
    projectIds.length === 0
      ? Effect.void
      : sql`
        WITH touched AS MATERIALIZED (
          SELECT project_id FROM valet.projects WHERE project_id = ANY(${[...projectIds]}::text[]) AND state <> 'deleted'
          ORDER BY project_id FOR NO KEY UPDATE
        )
        UPDATE valet.projects p SET last_active_at = greatest(p.last_active_at, valet.now())
        FROM touched WHERE p.project_id = touched.project_id`.pipe(Effect.asVoid, write("touch"))

  const record: Changes["record"] = ({ detail, kind, projectId }) =>
    sql`
      INSERT INTO valet.events (project_id, at, kind, generation, detail)
      SELECT project_id, valet.now(), ${kind}, generation, ${json(detail)}
      FROM valet.projects WHERE project_id = ${projectId}`.pipe(Effect.asVoid, write("record"))

  return { record, touch, updateSettings }
}
