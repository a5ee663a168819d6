/** Archiving: begin on idle, upload, commit, abort. The rules are `domain/transitions/Archive`. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { BegunArchive, Projects } from "../Projects.ts"
import { StoreError } from "../StoreError.ts"
import { fragments } from "./Fragments.ts"
import { foundRows, viewOf } from "./Rows.ts"
import { write } from "./Run.ts"
import { refused, type Find } from "./Wakes.ts"

type ArchiveTransitions = Pick<Projects["Service"], "beginArchive" | "startUpload" | "commitArchive" | "abortArchive">

export const makeArchiveTransitions = (sql: SqlClient.SqlClient, find: Find): ArchiveTransitions => {
  const f = fragments(sql)
  const changed = Effect.map((rows: ReadonlyArray<unknown>) => rows.length > 0)

  const beginArchive: ArchiveTransitions["beginArchive"] = Effect.fnUntraced(function* (input) {
    const rows = yield* sql`
      WITH ${f.held(sql`
        project_id = ${input.projectId} AND state IN ('active', 'suspended') AND operation = 'none'
        AND NOT data_unavailable AND EXISTS (SELECT FROM valet.machines m WHERE m.name = machine)
        AND (${input.force}::bool OR (
          NOT pinned AND ${f.isDue}
          AND last_active_at
            + coalesce(dormancy_threshold_seconds * interval '1 second', valet.ms(${input.idleMs}::float8))
            <= valet.now()
        ))`)},
      ${f.after(f.begins("archiving", input))},
      ${f.serving},
      ${f.events({
        kind: "archive_begun",
        detail: sql`jsonb_build_object('forced', ${input.force}::bool, 'idle_seconds',
          floor(extract(epoch FROM valet.now() - held.last_active_at))::bigint)`
      })}
      SELECT to_json(after) AS project, to_json(serving) AS machine FROM after LEFT JOIN serving ON true`.pipe(
      Effect.flatMap(foundRows),
      write("beginArchive")
    )
    const row = rows[0]
    if (row === undefined) return yield* refused(find, input.projectId)
    if (row.machine === null) return yield* missingMachine("beginArchive", row.project.machine)
    return { _tag: "Begun", project: row.project, machine: row.machine } satisfies BegunArchive
  })

  const startUpload: ArchiveTransitions["startUpload"] = (input) =>
    sql`
      WITH ${f.held(sql`${f.isMine(input.lease)} AND operation = 'archiving'`)},
      row AS (
        INSERT INTO valet.archives AS a (r2_key, project_id, project_uid, generation, url_expires_at, status, created_at)
        SELECT ${input.r2Key}, project_id, uid, generation, ${f.fromNow(input.urlExpiresInMs)}, 'uploading', valet.now()
        FROM held
        ON CONFLICT (r2_key) DO UPDATE SET url_expires_at = greatest(a.url_expires_at, excluded.url_expires_at)
          WHERE a.status = 'uploading' AND a.project_uid = excluded.project_uid
        RETURNING a.project_uid
      )
      UPDATE valet.projects p SET uploading = true FROM held JOIN row ON row.project_uid = held.uid
      WHERE p.project_id = held.project_id RETURNING true`.pipe(changed, write("startUpload"))

  const commitArchive: ArchiveTransitions["commitArchive"] = (input) =>
    sql`
      WITH ${f.held(sql`${f.isMine(input.lease)} AND operation = 'archiving'`)},
      upload AS MATERIALIZED (
        SELECT a.r2_key FROM held JOIN valet.archives a ON a.project_uid = held.uid
        WHERE a.r2_key = ${input.r2Key} AND a.status = 'uploading' AND a.generation = held.generation
        FOR UPDATE OF a
      ),
      after AS (
        UPDATE valet.projects p
        SET ${f.ends}, ${f.withoutFailures}, state = 'dormant', machine = NULL, dirty = false
        FROM held, upload WHERE p.project_id = held.project_id RETURNING p.*
      ),
      retired AS MATERIALIZED (
        SELECT a.r2_key, row_number() OVER (ORDER BY a.generation DESC, a.created_at DESC) AS age
        FROM after JOIN valet.archives a ON a.project_uid = after.uid AND a.status IN ('current', 'previous')
      ),
      archived AS (
        UPDATE valet.archives a SET
          status = CASE
            WHEN a.r2_key = upload.r2_key THEN 'current'
            WHEN (SELECT age FROM retired r WHERE r.r2_key = a.r2_key) = 1 THEN 'previous'
            ELSE 'discarded' END,
          r2_checksum = CASE WHEN a.r2_key = upload.r2_key THEN ${input.r2Checksum} ELSE a.r2_checksum END,
          size = CASE WHEN a.r2_key = upload.r2_key THEN ${input.size}::bigint ELSE a.size END
        FROM after, upload
        WHERE a.project_uid = after.uid AND a.status IN ('uploading', 'current', 'previous')
      ),
      retired_machine AS (
        UPDATE valet.machines m SET ${f.releases(input.machineDeleteAfterMs)}
        FROM after JOIN held USING (project_id) WHERE m.name = held.machine
      ),
      ${f.events({
        kind: "archived",
        detail: sql`jsonb_build_object('size', ${input.size}::bigint, 'r2_checksum', ${input.r2Checksum}::text)`
      })}
      SELECT true FROM after`.pipe(changed, write("commitArchive"))

  const abortArchive: ArchiveTransitions["abortArchive"] = Effect.fnUntraced(function* (input) {
    const mayAbort = input.by._tag === "Holder" ? f.isMine(input.by.lease) : sql`(NOT uploading OR ${f.leaseExpired})`
    const rows = yield* sql`
      WITH ${f.held(sql`project_id = ${input.projectId} AND operation = 'archiving' AND ${mayAbort}`)},
      ${f.after(sql`
        ${f.ends}, state = 'active',
        generation = greatest(held.generation + 1, ${input.minGeneration ?? 0}::bigint),
        last_active_at = greatest(held.last_active_at,
          valet.now() - coalesce(${input.idleSeconds}::float8, 'infinity') * interval '1 second'),
        last_error = coalesce(${input.error}, held.last_error),
        attempts = held.attempts + ${input.backoffMs === null ? 0 : 1}::int,
        next_attempt_at = coalesce(${f.fromNow(input.backoffMs)}, held.next_attempt_at)`)},
      ${f.uploadsDiscarded()},
      ${f.serving},
      ${f.events(
        ...(input.by._tag === "Takeover" ? [f.takenOver] : []),
        input.error === null
          ? {
              kind: "archive_aborted",
              detail: sql`jsonb_build_object('idle_seconds', ${input.idleSeconds}::bigint)`
            }
          : { kind: "archive_failed", detail: sql`jsonb_build_object('error', ${input.error}::text)` }
      )}
      SELECT to_json(after) AS project, to_json(serving) AS machine FROM after LEFT JOIN serving ON true`.pipe(
      Effect.flatMap(foundRows),
      write("abortArchive")
    )
    return viewOf(rows)
  })

  return { abortArchive, beginArchive, commitArchive, startUpload }
}

export const missingMachine = (operation: string, name: string | null) =>
  Effect.fail(new StoreError({ operation, reason: "Broken", detail: `no ledger row for the machine ${name}` }))
