/**
 * The parts that the statements of transitions share. Each statement has one shape:
 *
 * - `held`: the project's row, compared and locked. After a wait for the lock PostgreSQL compares the newest version of
 *   this row again, and of no other; so every condition that guards against a race is a column of it.
 * - `after`: the row as it becomes, from `held`.
 * - everything else that is written, from `after`.
 *
 * Rows are locked in one order, project before machine before archive, so that transitions don't deadlock.
 */
import type * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import type { EventKind } from "../../../domain/Event.ts"
import type { Lease, Operation } from "../../../domain/Project.ts"

export const fragments = (sql: SqlClient.SqlClient) => {
  const held = (condition: Fragment) => sql`
    held AS MATERIALIZED (SELECT * FROM valet.projects WHERE ${condition} FOR NO KEY UPDATE)`

  const isMine = (lease: Lease) => sql`
    project_id = ${lease.projectId} AND operation <> 'none' AND operation_id = ${lease.operationId}
      AND generation = ${lease.generation}::bigint`

  const leaseExpired = sql`lease_until <= valet.now()`
  const comesUp = sql`operation IN ('creating', 'waking')`
  const isDue = sql`(next_attempt_at IS NULL OR next_attempt_at <= valet.now())`

  const fromNow = (milliseconds: number | null) => sql`(valet.now() + valet.ms(${milliseconds}::float8))`

  const after = (set: Fragment) => sql`
    after AS (
      UPDATE valet.projects p SET ${set} FROM held WHERE p.project_id = held.project_id RETURNING p.*
    )`

  const begins = (
    operation: Exclude<Operation, "none">,
    begin: { readonly operationId: string; readonly leaseMs: number }
  ) => sql`
    operation = ${sql.literal(`'${operation}'`)}, operation_id = ${begin.operationId}, operation_began_at = valet.now(),
    generation = held.generation + 1, lease_until = ${fromNow(begin.leaseMs)}, uploading = false`

  const ends = sql`
    operation = 'none', operation_id = NULL, operation_began_at = NULL, lease_until = NULL, uploading = false`

  const withoutFailures = sql`attempts = 0, next_attempt_at = NULL, last_error = NULL`
  const withFailure = (error: string, retryAfterMs: number | null) => sql`
    attempts = held.attempts + 1, next_attempt_at = ${fromNow(retryAfterMs)}, last_error = ${error}`

  /** Into the bin, for rows that do not lie there yet. */
  const discards = sql`
    status = 'discarded', attempts = 0, next_attempt_at = NULL, absent_looks = 0, updated_at = valet.now()`

  /**
   * Into the bin with what it held safe or unwanted; a row that lies there already keeps its own schedule, unless it was
   * kept for its volume alone.
   */
  const releases = (deleteAfterMs: number | null) => sql`
    status = 'discarded', released = true,
    attempts = CASE WHEN m.status = 'discarded' AND (m.released OR NOT m.served) THEN m.attempts ELSE 0 END,
    next_attempt_at = CASE WHEN m.status = 'discarded' AND (m.released OR NOT m.served) THEN m.next_attempt_at
      ELSE ${fromNow(deleteAfterMs)} END,
    absent_looks = CASE m.status WHEN 'discarded' THEN m.absent_looks ELSE 0 END,
    updated_at = CASE m.status WHEN 'discarded' THEN m.updated_at ELSE valet.now() END`

  /**
   * What operations made or claimed for the project, beside the machine that serves it, as far as the statement's
   * snapshot shows it: what came while it waited for the project's row is left to the passes over the ledger.
   * `condition` reads `after`.
   */
  const besideDiscarded = (condition: Fragment = sql`true`) => sql`
    beside AS (
      UPDATE valet.machines m SET ${discards} FROM after
      WHERE ${condition} AND m.project = after.project_id AND m.status IN ('provisioning', 'assigned')
        AND m.name IS DISTINCT FROM after.machine
    )`

  const uploadsDiscarded = (condition: Fragment = sql`true`) => sql`
    uploads AS (
      UPDATE valet.archives a SET status = 'discarded' FROM after
      WHERE ${condition} AND a.project_uid = after.uid AND a.status = 'uploading'
    )`

  /** Each event's `detail` and `when` may read `held` and `after`. */
  const events = (
    ...list: ReadonlyArray<{
      readonly kind: EventKind
      readonly detail?: Fragment
      readonly when?: Fragment
    }>
  ) => {
    const selects = list.map(
      ({ detail, kind, when }, position) => sql`
        SELECT ${sql.literal(String(position))}, after.project_id, ${sql.literal(`'${kind}'`)}, after.generation,
          ${detail ?? sql`'{}'::jsonb`}
        FROM after JOIN held USING (project_id) WHERE ${when ?? sql`true`}`
    )
    return sql`
      written AS (
        INSERT INTO valet.events (project_id, at, kind, generation, detail)
        SELECT project_id, valet.now(), kind, generation, detail
        FROM (${sql.join(" UNION ALL ", false)(selects)}) AS e (position, project_id, kind, generation, detail)
        ORDER BY position
      )`
  }

  /** The ledger row that serves the project, as it is now and not as the statement's snapshot has it. */
  const serving = sql`
    serving AS MATERIALIZED (
      SELECT m.* FROM after JOIN valet.machines m ON m.name = after.machine FOR NO KEY UPDATE OF m
    )`

  const wasTakenOver = sql`EXISTS (SELECT FROM held WHERE operation <> 'none')`
  const takenOver = {
    kind: "taken_over" as const,
    detail: sql`jsonb_build_object('operation', held.operation)`,
    when: sql`held.operation <> 'none'`
  }

  return {
    held,
    isMine,
    leaseExpired,
    comesUp,
    isDue,
    fromNow,
    after,
    begins,
    ends,
    withoutFailures,
    withFailure,
    discards,
    releases,
    serving,
    wasTakenOver,
    besideDiscarded,
    uploadsDiscarded,
    events,
    takenOver
  }
}
