/** The machine ledger's rows on their way out, and what is read of it. The rules are `domain/transitions/Ledger`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { absence } from "../../../domain/transitions/Ledger.ts"
import type { Machines } from "../Machines.ts"
import { fragments } from "./Fragments.ts"
import { machineRows } from "./Rows.ts"
import { read, write } from "./Run.ts"

type Bin = Pick<
  Machines["Service"],
  | "discard"
  | "find"
  | "pool"
  | "bin"
  | "binCounts"
  | "noteFailure"
  | "recordGone"
  | "markGone"
  | "discardUnnamed"
  | "discardAbandoned"
  | "living"
  | "ofProject"
  | "purge"
>

const decodeCounts = Schema.decodeUnknownEffect(
  Schema.Tuple([Schema.Struct({ discarded: Schema.Int, kept: Schema.Int, failing: Schema.Int })])
)

export const makeBin = (sql: SqlClient.SqlClient, reads: SqlClient.SqlClient): Bin => {
  const f = fragments(sql)
  const changed = Effect.map((rows: ReadonlyArray<unknown>) => rows.length > 0)
  const counted = Effect.map((rows: ReadonlyArray<unknown>) => rows.length)
  const oldestFirst = sql`ORDER BY m.created_at, m.name`

  /** A running operation may still commit the row `m`; no other row is a project's machine. */
  const inUse = sql`EXISTS (
    SELECT FROM valet.projects p WHERE p.project_id = m.project AND (
      p.machine = m.name
      OR (p.operation IN ('creating', 'waking', 'rehosting') AND p.generation = m.generation)
    ))`

  const discard: Bin["discard"] = (input) =>
    sql`
      WITH owner AS MATERIALIZED (
        SELECT p.project_id, p.machine FROM valet.machines m JOIN valet.projects p ON p.project_id = m.project
        WHERE m.name = ${input.name} FOR NO KEY UPDATE OF p
      ),
      owned AS MATERIALIZED (SELECT max(project_id) AS owner, max(machine) AS machine FROM owner)
      UPDATE valet.machines m
      SET status = 'discarded', last_error = ${input.reason},
        attempts = CASE m.status WHEN 'discarded' THEN m.attempts ELSE 0 END,
        next_attempt_at = CASE m.status WHEN 'discarded' THEN m.next_attempt_at END,
        absent_looks = CASE m.status WHEN 'discarded' THEN m.absent_looks ELSE 0 END,
        updated_at = CASE m.status WHEN 'discarded' THEN m.updated_at ELSE valet.now() END
      FROM owned
      WHERE m.name = ${input.name} AND m.status = ANY(${[...input.from]}::text[])
        AND owned.machine IS DISTINCT FROM m.name AND owned.owner IS NOT DISTINCT FROM m.project
      RETURNING true`.pipe(changed, write("discard"))

  const find: Bin["find"] = (name) =>
    reads`SELECT to_json(m) AS machine FROM valet.machines m WHERE m.name = ${name}`.pipe(
      Effect.flatMap(machineRows),
      Effect.map((rows) => rows[0] ?? null),
      read("findMachine")
    )

  const pool = reads`
    SELECT to_json(m) AS machine FROM valet.machines m
    WHERE m.status = 'ready' OR (m.status = 'provisioning' AND m.project IS NULL) ${oldestFirst}`.pipe(
    Effect.flatMap(machineRows),
    read("pool")
  )

  const bin: Bin["bin"] = (limit) =>
    reads`
      SELECT to_json(m) AS machine FROM valet.machines m
      WHERE m.status = 'discarded' AND coalesce(m.next_attempt_at, '-infinity') <= valet.now()
      ORDER BY coalesce(m.next_attempt_at, '-infinity'), m.updated_at, m.name LIMIT ${limit}::int`.pipe(
      Effect.flatMap(machineRows),
      read("bin")
    )

  const binCounts = reads`
    SELECT count(*)::int AS discarded, (count(*) FILTER (WHERE served AND NOT released))::int AS kept,
      (count(*) FILTER (WHERE attempts > 0))::int AS failing
    FROM valet.machines WHERE status = 'discarded'`.pipe(
    Effect.flatMap(decodeCounts),
    Effect.map(([counts]) => counts),
    read("binCounts")
  )

  const noteFailure: Bin["noteFailure"] = (name, error, retryAfterMs) =>
    sql`
      UPDATE valet.machines
      SET attempts = attempts + 1, next_attempt_at = ${f.fromNow(retryAfterMs)}, last_error = ${error}
      WHERE name = ${name} AND status <> 'gone'`.pipe(Effect.asVoid, write("noteFailure"))

  const recordGone: Bin["recordGone"] = (name, what) =>
    (what === "machine"
      ? sql`
        UPDATE valet.machines SET machine_id = NULL, private_ip = NULL, machine_gone = true
        WHERE name = ${name} AND status = 'discarded' AND machine_id IS NOT NULL`
      : sql`
        UPDATE valet.machines SET volume_id = NULL, volume_gone = true
        WHERE name = ${name} AND status = 'discarded' AND volume_id IS NOT NULL`
    ).pipe(Effect.asVoid, write("recordGone"))

  const markGone: Bin["markGone"] = (name, absentMs = absence.minAgeMs) =>
    sql`
      UPDATE valet.machines SET status = 'gone', updated_at = valet.now()
      WHERE name = ${name} AND status = 'discarded' AND machine_id IS NULL AND volume_id IS NULL
        AND ((machine_gone AND volume_gone) OR (
          absent_looks >= ${absence.minLooks}::int AND updated_at <= valet.now() - valet.ms(${absentMs}::float8)
        ))
      RETURNING true`.pipe(changed, write("markGone"))

  /** Rows that are neither locked nor changed since they were found; what was missed is found by the next pass. */
  const discardUnnamed: Bin["discardUnnamed"] = (limit) =>
    sql`
      WITH unnamed AS MATERIALIZED (
        SELECT m.name FROM valet.machines m WHERE m.status = 'assigned' AND NOT ${inUse}
        ${oldestFirst} LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
      )
      UPDATE valet.machines m SET ${f.discards} FROM unnamed
      WHERE m.name = unnamed.name AND m.status = 'assigned' RETURNING true`.pipe(counted, write("discardUnnamed"))

  const discardAbandoned: Bin["discardAbandoned"] = (olderThanMs, limit) =>
    sql`
      WITH abandoned AS MATERIALIZED (
        SELECT m.name FROM valet.machines m
        WHERE m.status = 'provisioning' AND m.created_at <= valet.now() - valet.ms(${olderThanMs}::float8)
          AND NOT ${inUse}
        ${oldestFirst} LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
      )
      UPDATE valet.machines m SET ${f.discards} FROM abandoned
      WHERE m.name = abandoned.name AND m.status = 'provisioning' RETURNING true`.pipe(
      counted,
      write("discardAbandoned")
    )

  const living = reads`
    SELECT to_json(m) AS machine FROM valet.machines m WHERE m.status <> 'gone' ${oldestFirst}`.pipe(
    Effect.flatMap(machineRows),
    read("living")
  )

  const ofProject: Bin["ofProject"] = (projectId) =>
    reads`SELECT to_json(m) AS machine FROM valet.machines m WHERE m.project = ${projectId} ${oldestFirst}`.pipe(
      Effect.flatMap(machineRows),
      read("ofProject")
    )

  /** An array is selected once: a plan that asks `IN (SELECT … SKIP LOCKED)` anew for each row goes past its limit. */
  const purge: Bin["purge"] = (olderThanMs, limit) =>
    sql`
      DELETE FROM valet.machines WHERE name = ANY(ARRAY(
        SELECT name FROM valet.machines
        WHERE status = 'gone' AND updated_at <= valet.now() - valet.ms(${olderThanMs}::float8)
        ORDER BY created_at, name LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
      )) RETURNING true`.pipe(counted, write("purge"))

  return {
    bin,
    binCounts,
    discard,
    discardAbandoned,
    discardUnnamed,
    find,
    living,
    markGone,
    noteFailure,
    ofProject,
    pool,
    purge,
    recordGone
  }
}
