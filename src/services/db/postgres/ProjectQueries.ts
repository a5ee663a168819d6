/** What is read of the projects table without changing it, each by an index (all but the totals of `counts`). */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { operations, projectStates } from "../../../domain/Project.ts"
import { ProjectId } from "../../../domain/ProjectId.ts"
import type { Projects, RouteRow } from "../Projects.ts"
import { StoreError } from "../StoreError.ts"
import { decodeCursor, encodeCursor } from "./Cursor.ts"
import { eventRows, foundRows, projectRows, viewOf } from "./Rows.ts"
import { read } from "./Run.ts"

type Queries = Pick<
  Projects["Service"],
  "find" | "routes" | "list" | "counts" | "running" | "idleCandidates" | "expiredLeases" | "events"
>

const decodeCounts = Schema.decodeUnknownEffect(
  Schema.Array(
    Schema.Struct({
      state: Schema.Literals(projectStates),
      operation: Schema.Literals(operations),
      data_unavailable: Schema.Boolean,
      n: Schema.Int
    })
  )
)
const decodeRoutes = Schema.decodeUnknownEffect(
  Schema.Array(
    Schema.Struct({
      project_id: Schema.String,
      state: Schema.Literals(projectStates),
      operation: Schema.Literals(operations),
      data_unavailable: Schema.Boolean,
      machine_id: Schema.NullOr(Schema.String)
    })
  )
)
const decodeIdle = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ project_id: ProjectId, at: Schema.String })))

export const makeProjectQueries = (sql: SqlClient.SqlClient): Queries => {
  const moment = (milliseconds: number) => sql`to_timestamp(${milliseconds}::float8 / 1000)`

  const find: Queries["find"] = (projectId) =>
    sql`
      SELECT to_json(p) AS project, to_json(m) AS machine
      FROM valet.projects p LEFT JOIN valet.machines m ON m.name = p.machine
      WHERE p.project_id = ${projectId}`.pipe(
      Effect.flatMap(foundRows),
      Effect.map((rows) => Option.fromNullishOr(viewOf(rows))),
      read("find")
    )

  const routes: Queries["routes"] = (projectIds) =>
    sql`
      SELECT p.project_id, p.state, p.operation, p.data_unavailable, m.machine_id
      FROM valet.projects p LEFT JOIN valet.machines m ON m.name = p.machine
      WHERE p.project_id = ANY(${[...projectIds]}::text[])`.pipe(
      Effect.flatMap(decodeRoutes),
      Effect.map(
        (rows) =>
          new Map(
            rows.map((row): readonly [string, RouteRow] => [
              row.project_id,
              {
                state: row.state,
                operation: row.operation,
                dataUnavailable: row.data_unavailable,
                machineId: row.machine_id
              }
            ])
          )
      ),
      read("routes")
    )

  const list: Queries["list"] = Effect.fnUntraced(function* ({ cursor, limit, state }) {
    const behind = cursor === null ? null : decodeCursor(cursor)
    if (behind === undefined) {
      return yield* new StoreError({ operation: "list", reason: "Broken", detail: "not a cursor" })
    }
    const rows = yield* sql`
      SELECT to_json(p) AS project FROM valet.projects p
      WHERE ${state === null ? sql`p.state <> 'deleted'` : sql`p.state = ${state}`}
      ${
        behind === null
          ? sql``
          : sql`AND (p.created_at, p.project_id) < (${moment(behind.createdAt)}, ${behind.projectId})`
      }
      ORDER BY p.created_at DESC, p.project_id DESC LIMIT ${limit + 1}::int`.pipe(
      Effect.flatMap(projectRows),
      read("list")
    )
    const projects = rows.slice(0, limit)
    const last = projects.at(-1)
    return { projects, next: last !== undefined && rows.length > limit ? encodeCursor(last) : null }
  })

  const counts: Queries["counts"] = sql`
    SELECT state, operation, data_unavailable, count(*)::int AS n FROM valet.projects GROUP BY 1, 2, 3`.pipe(
    Effect.flatMap(decodeCounts),
    Effect.map((groups) => {
      const totals = {
        states: { active: 0, suspended: 0, dormant: 0, deleted: 0 },
        operations: { none: 0, creating: 0, waking: 0, archiving: 0, rehosting: 0, deleting: 0 },
        dataUnavailable: 0
      }
      for (const { data_unavailable, n, operation, state } of groups) {
        totals.states[state] += n
        if (state !== "deleted") totals.operations[operation] += n
        if (data_unavailable) totals.dataUnavailable += n
      }
      return totals
    }),
    read("counts")
  )

  const running: Queries["running"] = (limit) =>
    sql`
      SELECT to_json(p) AS project FROM valet.projects p WHERE p.operation <> 'none'
      ORDER BY p.operation_began_at, p.project_id LIMIT ${limit}::int`.pipe(
      Effect.flatMap(projectRows),
      read("running")
    )

  /** The day narrows the scan to its index, the moment decides. */
  const idleCandidates: Queries["idleCandidates"] = ({ after, idleMs, limit }) => {
    const utc = (at: Fragment) => sql`(${at} AT TIME ZONE 'UTC')`
    const idleSince = sql`(valet.now() - valet.ms(${idleMs}::float8))`
    const candidate = sql`
        state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
        AND (next_attempt_at IS NULL OR next_attempt_at <= valet.now())
        ${
          after === null
            ? sql``
            : sql`AND (last_active_day, project_id) > (${utc(moment(after.lastActiveAt))}::date, ${after.projectId})`
        }`
    const page = sql`ORDER BY last_active_day, project_id LIMIT ${limit}::int`
    return sql`
        SELECT project_id, to_json(last_active_at) AS at FROM (
          (
            SELECT project_id, last_active_at, last_active_day FROM valet.projects
            WHERE ${candidate} AND dormancy_threshold_seconds IS NULL
              AND last_active_day <= ${utc(idleSince)}::date AND last_active_at <= ${idleSince}
            ${page}
          ) UNION ALL (
            SELECT project_id, last_active_at, last_active_day FROM valet.projects
            WHERE ${candidate} AND dormancy_threshold_seconds IS NOT NULL
              AND own_due_day <= ${utc(sql`valet.now()`)}::date
              AND last_active_at + dormancy_threshold_seconds * interval '1 second' <= valet.now()
            ${page}
          )
        ) AS both_kinds ${page}`.pipe(
      Effect.flatMap(decodeIdle),
      Effect.map((rows) => rows.map((row) => ({ projectId: row.project_id, lastActiveAt: Date.parse(row.at) }))),
      read("idleCandidates")
    )
  }

  const expiredLeases: Queries["expiredLeases"] = (limit) =>
    sql`
      SELECT to_json(p) AS project FROM valet.projects p
      WHERE p.operation <> 'none' AND p.lease_until <= valet.now()
      ORDER BY p.lease_until, p.project_id LIMIT ${limit}::int`.pipe(Effect.flatMap(projectRows), read("expiredLeases"))

  const events: Queries["events"] = ({ before, limit, projectId }) =>
    sql`
      SELECT to_json(e) AS event FROM valet.events e
      WHERE e.project_id = ${projectId} ${before === null ? sql`` : sql`AND e.id < ${before}::bigint`}
      ORDER BY e.id DESC LIMIT ${limit}::int`.pipe(Effect.flatMap(eventRows), read("events"))

  return { counts, events, expiredLeases, find, idleCandidates, list, routes, running }
}
