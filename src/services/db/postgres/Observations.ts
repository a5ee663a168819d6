/** What listings of Fly tell the ledger. The rules are `domain/transitions/Observe` and the two looks at a stray. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type * as SqlClient from "effect/sql/SqlClient"
import { ProjectId } from "../../../domain/ProjectId.ts"
import type { Machines } from "../Machines.ts"
import { write } from "./Run.ts"

type Observations = Pick<Machines["Service"], "countAbsent" | "observe" | "lookAtStrays">

const decodeObserved = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ resumed: Schema.NullOr(ProjectId) })))

const decodeIds = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ id: Schema.String })))

export const makeObservations = (sql: SqlClient.SqlClient): Observations => {
  const countAbsent: Observations["countAbsent"] = (names) =>
    sql`
      UPDATE valet.machines
      SET absent_looks = CASE WHEN name = ANY(${[...names]}::text[]) THEN absent_looks + 1 ELSE 0 END
      WHERE status <> 'gone' AND (absent_looks > 0 OR name = ANY(${[...names]}::text[]))`.pipe(
      Effect.asVoid,
      write("countAbsent")
    )

  /** Locks only what differs, projects before machines. */
  const observe: Observations["observe"] = (observations) =>
    sql`
      WITH seen AS (
        SELECT DISTINCT ON (e ->> 'machineId') position, e ->> 'machineId' AS machine_id, e ->> 'state' AS state,
          e ->> 'volumeId' AS volume_id, e ->> 'privateIp' AS private_ip
        FROM jsonb_array_elements(${PgTypes.jsonb(observations)}::jsonb) WITH ORDINALITY AS listed (e, position)
        ORDER BY e ->> 'machineId', position
      ),
      differing AS MATERIALIZED (
        SELECT seen.*, m.name, p.project_id FROM seen
        JOIN valet.machines m ON m.machine_id = seen.machine_id AND m.status <> 'gone'
        LEFT JOIN valet.projects p ON p.project_id = m.project AND p.machine = m.name
        WHERE seen.volume_id IS DISTINCT FROM coalesce(m.volume_id, seen.volume_id)
          OR (m.volume_id IS NULL AND seen.volume_id IS NOT NULL)
          OR (seen.private_ip IS NOT NULL AND seen.private_ip IS DISTINCT FROM m.private_ip)
          OR (p.state IN ('active', 'suspended') AND seen.state <> p.state)
      ),
      owner AS MATERIALIZED (
        SELECT p.* FROM valet.projects p WHERE p.project_id IN (SELECT project_id FROM differing)
        ORDER BY p.project_id FOR NO KEY UPDATE
      ),
      found AS MATERIALIZED (
        SELECT m.*, differing.position, differing.state, differing.volume_id AS seen_volume_id,
          differing.private_ip AS seen_private_ip
        FROM (SELECT count(*) FROM owner) AS locked CROSS JOIN differing JOIN valet.machines m USING (name)
        ORDER BY m.name FOR NO KEY UPDATE OF m
      ),
      changed_state AS (
        UPDATE valet.projects p SET state = found.state FROM owner JOIN found ON found.name = owner.machine
        WHERE p.project_id = owner.project_id AND owner.state IN ('active', 'suspended') AND found.state <> owner.state
        RETURNING p.*
      ),
      changed_row AS (
        UPDATE valet.machines m
        SET volume_id = coalesce(found.seen_volume_id, m.volume_id),
          private_ip = coalesce(found.seen_private_ip, m.private_ip),
          volume_gone = m.volume_gone AND found.seen_volume_id IS NULL, updated_at = valet.now()
        FROM found
        WHERE m.name = found.name
          AND (coalesce(found.seen_volume_id, m.volume_id), coalesce(found.seen_private_ip, m.private_ip))
            IS DISTINCT FROM (m.volume_id, m.private_ip)
        RETURNING m.name, m.volume_id, found.volume_id AS volume_before
      ),
      written AS (
        INSERT INTO valet.events (project_id, at, kind, generation, detail)
        SELECT project_id, valet.now(), kind, generation, detail FROM (
          SELECT found.position, 1, s.project_id, CASE s.state WHEN 'suspended' THEN 'suspended' ELSE 'resumed' END,
            s.generation, '{}'::jsonb
          FROM changed_state s JOIN found ON found.name = s.machine
          UNION ALL
          SELECT found.position, 2, owner.project_id, 'volume_moved', owner.generation,
            jsonb_build_object('machine', r.name, 'from', r.volume_before, 'to', r.volume_id)
          FROM changed_row r JOIN found USING (name) JOIN owner ON owner.machine = r.name
          WHERE r.volume_before IS NOT NULL AND r.volume_before <> r.volume_id
        ) AS e (position, part, project_id, kind, generation, detail) ORDER BY position, part
      ),
      told AS MATERIALIZED (
        SELECT pg_notify('valet_changes', owner.project_id)::text FROM changed_row r JOIN owner ON owner.machine = r.name
      )
      SELECT (SELECT count(*) FROM told) AS told, name,
        (SELECT s.project_id FROM changed_state s WHERE s.machine = found.name AND s.state = 'active') AS resumed
      FROM found WHERE name IN (SELECT name FROM changed_row UNION SELECT machine FROM changed_state)
      ORDER BY position`.pipe(
      Effect.flatMap(decodeObserved),
      Effect.map((rows) => ({
        changed: rows.length,
        resumed: rows.flatMap(({ resumed }) => (resumed === null ? [] : [resumed]))
      })),
      write("observe")
    )

  const lookAtStrays: Observations["lookAtStrays"] = (kind, seen, minAgeMs) => {
    const id = sql.literal(kind === "machine" ? "m.machine_id" : "m.volume_id")
    return sql`
      WITH seen AS MATERIALIZED (
        SELECT DISTINCT ON (e ->> 'id') e ->> 'id' AS id, e ->> 'name' AS name
        FROM jsonb_array_elements(${PgTypes.jsonb(seen)}::jsonb) AS listed (e)
        WHERE NOT EXISTS (SELECT FROM valet.machines m WHERE m.status <> 'gone' AND ${id} = e ->> 'id')
      ),
      forgotten AS (
        DELETE FROM valet.strays s WHERE s.kind = ${kind} AND NOT EXISTS (SELECT FROM seen WHERE seen.id = s.id)
      ),
      looked AS (
        INSERT INTO valet.strays AS s (kind, id, name, looks, first_seen_at, last_seen_at)
        SELECT ${kind}, id, name, 1, valet.now(), valet.now() FROM seen
        ON CONFLICT (kind, id) DO UPDATE
        SET looks = s.looks + 1, last_seen_at = excluded.last_seen_at, name = excluded.name
        RETURNING *
      )
      SELECT id FROM looked
      WHERE looks >= 2 AND first_seen_at + valet.ms(${minAgeMs}::float8) <= last_seen_at ORDER BY id`.pipe(
      Effect.flatMap(decodeIds),
      Effect.map((rows) => rows.map((row) => row.id)),
      write("lookAtStrays")
    )
  }

  return { countAbsent, lookAtStrays, observe }
}
