/** Waking: begin with the claim, renew, commit, fail. The rules are `domain/transitions/Wake` and `Lease`. */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Begun, Claim, ProjectView, Refused, Projects } from "../Projects.ts"
import type { ProjectId } from "../../../domain/ProjectId.ts"
import type { StoreError } from "../StoreError.ts"
import { fragments } from "./Fragments.ts"
import { foundRows, viewOf } from "./Rows.ts"
import { write } from "./Run.ts"

type Wakes = Pick<
  Projects["Service"],
  "beginWake" | "renew" | "commitActive" | "failWake" | "raiseGeneration" | "expireWake"
>

/** Reads the row as it is now: the refusing statement's snapshot may be older than what refused it. */
export type Find = (projectId: ProjectId) => Effect.Effect<Option.Option<ProjectView>, StoreError>

/**
 * Claims the oldest ready machine that fits, for the row of `after`. A row that another claim holds is skipped and never
 * waited for; one that was claimed since this statement's snapshot no longer matches when it is locked. `after` has at
 * most one row, so at most one machine is picked.
 */
export const claimFrom = (sql: SqlClient.SqlClient, claim: Claim | null) =>
  claim === null
    ? sql`claimed AS (SELECT * FROM valet.machines WHERE false)`
    : sql`
      picked AS MATERIALIZED (
        SELECT m.name FROM after CROSS JOIN LATERAL (
          SELECT name FROM valet.machines
          WHERE status = 'ready' AND image = ${claim.image} AND region = ${claim.region}
          ORDER BY created_at, name LIMIT 1 FOR UPDATE SKIP LOCKED
        ) m
      ),
      claimed AS (
        UPDATE valet.machines m
        SET status = 'assigned', project = after.project_id, generation = after.generation, updated_at = valet.now()
        FROM picked, after WHERE m.name = picked.name AND m.status = 'ready' RETURNING m.*
      )`

export const makeWakes = (sql: SqlClient.SqlClient, find: Find): Wakes => {
  const f = fragments(sql)
  const changed = Effect.map((rows: ReadonlyArray<unknown>) => rows.length > 0)

  const beginWake: Wakes["beginWake"] = Effect.fnUntraced(function* (input) {
    const rows = yield* sql`
      WITH ${f.held(sql`
        project_id = ${input.projectId} AND state = 'dormant'
        AND (operation = 'none' OR (${f.comesUp} AND ${f.leaseExpired}))
        AND (${input.force ?? false}::bool OR ${f.isDue})`)},
      ${f.after(f.begins("waking", input))},
      ${f.besideDiscarded(f.wasTakenOver)},
      ${f.uploadsDiscarded(f.wasTakenOver)},
      ${claimFrom(sql, input.claim)},
      ${f.events(f.takenOver, {
        kind: "wake_begun",
        detail: sql`jsonb_build_object('machine', (SELECT name FROM claimed))`
      })}
      SELECT to_json(after) AS project, to_json(claimed) AS machine, to_json(a) AS archive
      FROM after LEFT JOIN claimed ON true
      LEFT JOIN valet.archives a ON a.project_uid = after.uid AND a.status = 'current'`.pipe(
      Effect.flatMap(foundRows),
      write("beginWake")
    )
    const row = rows[0]
    return row === undefined ? yield* refused(find, input.projectId) : ({ _tag: "Begun", ...row } satisfies Begun)
  })

  const renew: Wakes["renew"] = (lease, leaseMs) =>
    sql`UPDATE valet.projects SET lease_until = ${f.fromNow(leaseMs)} WHERE ${f.isMine(lease)} RETURNING true`.pipe(
      changed,
      write("renew")
    )

  const commitActive: Wakes["commitActive"] = Effect.fnUntraced(function* ({ lease, machine }) {
    const rows = yield* sql`
      WITH ${f.held(sql`${f.isMine(lease)} AND (${f.comesUp} OR operation = 'rehosting')`)},
      serving AS (
        UPDATE valet.machines m
        SET status = 'assigned', generation = held.generation, served = true, released = false,
          updated_at = valet.now()
        FROM held
        WHERE m.name = ${machine} AND m.project = held.project_id AND m.machine_id IS NOT NULL
          AND m.status IN ('provisioning', 'assigned')
          AND (m.generation = held.generation OR (held.operation = 'rehosting' AND held.machine = m.name))
        RETURNING m.*
      ),
      after AS (
        UPDATE valet.projects p
        SET ${f.ends}, ${f.withoutFailures}, state = 'active', machine = serving.name, dirty = true,
          data_unavailable = false, last_active_at = valet.now()
        FROM held JOIN serving ON serving.project = held.project_id
        WHERE p.project_id = held.project_id RETURNING p.*
      ),
      beside AS (
        UPDATE valet.machines m
        SET ${f.discards}, released = m.released
            OR (m.name IS NOT DISTINCT FROM held.machine AND NOT held.data_unavailable)
        FROM after JOIN held USING (project_id)
        WHERE m.project = after.project_id AND m.name <> after.machine AND m.status IN ('provisioning', 'assigned')
      ),
      forked_from AS (
        UPDATE valet.machines m SET ${f.releases(null)} FROM after JOIN held USING (project_id)
        WHERE m.name = held.machine AND m.name <> after.machine AND m.status = 'discarded'
          AND NOT held.data_unavailable
      ),
      written AS (
        INSERT INTO valet.events (project_id, at, kind, generation, detail)
        SELECT after.project_id, valet.now(), CASE held.operation WHEN 'rehosting' THEN 'rehosted' ELSE 'woken' END,
          after.generation, jsonb_build_object('machine', serving.name, 'region', serving.region)
        FROM after JOIN held USING (project_id) JOIN serving ON true
      )
      SELECT to_json(after) AS project, to_json(serving) AS machine FROM after JOIN serving ON true`.pipe(
      Effect.flatMap(foundRows),
      write("commitActive")
    )
    return viewOf(rows)
  })

  const failWake: Wakes["failWake"] = ({ error, lease, retryAfterMs }) =>
    sql`
      WITH ${f.held(sql`${f.isMine(lease)} AND ${f.comesUp}`)},
      ${f.after(sql`${f.ends}, ${f.withFailure(error, retryAfterMs)}`)},
      ${f.besideDiscarded()},
      ${f.events({ kind: "wake_failed", detail: sql`jsonb_build_object('error', after.last_error)` })}
      SELECT true FROM after`.pipe(changed, write("failWake"))

  const raiseGeneration: Wakes["raiseGeneration"] = Effect.fnUntraced(function* (lease, newest) {
    const rows = yield* sql`
      WITH ${f.held(f.isMine(lease))},
      ${f.after(sql`generation = greatest(held.generation, ${newest}::bigint + 1)`)},
      made AS (
        UPDATE valet.machines m SET generation = after.generation FROM after JOIN held USING (project_id)
        WHERE m.project = after.project_id AND m.generation = held.generation AND after.generation > held.generation
          AND m.status IN ('provisioning', 'assigned')
      ),
      uploading AS (
        UPDATE valet.archives a SET generation = after.generation FROM after JOIN held USING (project_id)
        WHERE a.project_uid = after.uid AND a.generation = held.generation AND after.generation > held.generation
          AND a.status = 'uploading'
      )
      SELECT to_json(after) AS project, NULL::json AS machine FROM after`.pipe(
      Effect.flatMap(foundRows),
      write("raiseGeneration")
    )
    const row = rows[0]
    return row === undefined ? null : { ...lease, generation: row.project.generation }
  })

  const expireWake: Wakes["expireWake"] = (projectId) =>
    sql`
      WITH ${f.held(sql`project_id = ${projectId} AND ${f.comesUp} AND ${f.leaseExpired}`)},
      ${f.after(sql`${f.ends}, generation = held.generation + 1`)},
      ${f.besideDiscarded()},
      ${f.uploadsDiscarded()},
      ${f.events(f.takenOver)}
      SELECT true FROM after`.pipe(changed, write("expireWake"))

  return { beginWake, commitActive, expireWake, failWake, raiseGeneration, renew }
}

export const refused = (find: Find, projectId: ProjectId) =>
  Effect.map(find(projectId), (found): Refused => ({ _tag: "Refused", view: found.pipe(orNull) }))

const orNull = <A>(option: Option.Option<A>): A | null => (option._tag === "Some" ? option.value : null)
