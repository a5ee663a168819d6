/** The machine ledger's rows on their way to a project: provisioning, claims, ids. The rules are `domain/transitions/Ledger`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import type { Lease } from "../../../domain/Project.ts"
import type { MachineName, MachineRow, NewMachine } from "../../../domain/Machine.ts"
import type { Machines } from "../Machines.ts"
import { fragments } from "./Fragments.ts"
import { machineRows } from "./Rows.ts"
import { transaction, write } from "./Run.ts"
import { claimFrom } from "./Wakes.ts"

type Provisioning = Pick<
  Machines["Service"],
  "insertPool" | "insertFor" | "claimNext" | "recordVolume" | "recordMachine" | "markReady" | "clearMachine"
>

const decodeOutcome = Schema.decodeUnknownEffect(
  Schema.Array(Schema.Struct({ outcome: Schema.Literals(["inserted", "lost", "full"]) }))
)

export const makeProvisioning = (sql: SqlClient.SqlClient): Provisioning => {
  const f = fragments(sql)
  const first = Effect.map((rows: ReadonlyArray<MachineRow>) => rows[0] ?? null)
  const changed = Effect.map((rows: ReadonlyArray<unknown>) => rows.length > 0)

  /** Inserts follow one another, so that the count of one includes what the others inserted. */
  const oneAtATime = sql`SELECT pg_advisory_xact_lock(hashtextextended('valet machines', 0))`
  const belowMax = (maxMachines: number) => sql`
    (SELECT count(*) FROM (SELECT FROM valet.machines WHERE status <> 'gone' LIMIT ${maxMachines}::bigint) AS living)
      < ${maxMachines}::bigint`
  const newRow = (machine: NewMachine) => sql`
    ${machine.name}, ${machine.region}, ${machine.image}, ${machine.volumeSizeGb}::int, ${machine.keyId},
    'provisioning', valet.now(), valet.now()`
  const columns = sql.literal("name, region, image, volume_size_gb, key_id, status, created_at, updated_at")

  const insertPool: Provisioning["insertPool"] = (machine, maxMachines) =>
    Effect.andThen(
      oneAtATime,
      sql`
        WITH before AS (SELECT status, project FROM valet.machines WHERE name = ${machine.name}),
        inserted AS (
          INSERT INTO valet.machines (project, generation, ${columns})
          SELECT NULL, 0, ${newRow(machine)}
          WHERE NOT EXISTS (SELECT FROM before) AND ${belowMax(maxMachines)}
          ON CONFLICT DO NOTHING RETURNING status
        )
        SELECT true FROM inserted
        UNION ALL SELECT true FROM before WHERE status = 'provisioning' AND project IS NULL`
    ).pipe(changed, transaction(sql, "insertPool"))

  const insertFor: Provisioning["insertFor"] = (lease, machine, maxMachines) =>
    Effect.andThen(
      oneAtATime,
      sql`
        WITH ${f.held(mayProvision(lease))},
        before AS (SELECT project, generation FROM valet.machines WHERE name = ${machine.name}),
        inserted AS (
          INSERT INTO valet.machines (project, generation, ${columns})
          SELECT held.project_id, held.generation, ${newRow(machine)} FROM held
          WHERE NOT EXISTS (SELECT FROM before) AND ${belowMax(maxMachines)}
          ON CONFLICT DO NOTHING RETURNING name
        )
        SELECT CASE
          WHEN NOT EXISTS (SELECT FROM held) THEN 'lost'
          WHEN EXISTS (
            SELECT FROM before JOIN held ON before.project = held.project_id AND before.generation = held.generation
          ) THEN 'inserted'
          WHEN EXISTS (SELECT FROM before) THEN 'lost'
          WHEN EXISTS (SELECT FROM inserted) THEN 'inserted'
          ELSE 'full' END AS outcome`
    ).pipe(
      Effect.flatMap(decodeOutcome),
      Effect.map((rows) => rows[0]?.outcome ?? "lost"),
      transaction(sql, "insertFor")
    )

  const mayProvision = (lease: Lease) => sql`${f.isMine(lease)} AND operation IN ('creating', 'waking', 'rehosting')`

  const claimNext: Provisioning["claimNext"] = (input) =>
    sql`
      WITH ${f.held(mayProvision(input.lease))},
      given_up AS (
        UPDATE valet.machines m SET ${f.discards}, last_error = ${input.reason} FROM held
        WHERE m.name = ${input.discard} AND m.project = held.project_id AND m.status = 'assigned'
          AND m.generation = held.generation AND m.name IS DISTINCT FROM held.machine
      ),
      after AS (SELECT * FROM held),
      ${claimFrom(sql, input.claim)}
      SELECT to_json(claimed) AS machine FROM claimed`.pipe(Effect.flatMap(machineRows), first, write("claimNext"))

  /**
   * An id is written into a row still being provisioned, or into the project's own while it is rehosted. One that comes
   * too late takes its row to the bin, unless the row is a project's machine: that keeps its own ids. `refresh` is what
   * the same id once more may change.
   */
  const recordIds = (name: MachineName, ids: Fragment, isSame: Fragment, refresh: Fragment) =>
    sql`
      WITH owner AS MATERIALIZED (
        SELECT p.* FROM valet.machines m JOIN valet.projects p ON p.project_id = m.project
        WHERE m.name = ${name} FOR NO KEY UPDATE OF p
      ),
      owned AS MATERIALIZED (
        SELECT max(project_id) AS owner, max(machine) AS machine, max(operation) AS operation FROM owner
      ),
      found AS MATERIALIZED (
        SELECT m.*, owned.owner, owned.operation, owned.machine IS NOT DISTINCT FROM m.name AND m.status = 'assigned' AS serves
        FROM owned CROSS JOIN valet.machines m WHERE m.name = ${name} FOR NO KEY UPDATE OF m
      ),
      decided AS (
        SELECT name, serves, status IN ('provisioning', 'discarded') OR serves AS stays
        -- Claimed while this waited for the row: whose it is now was not looked at.
        FROM found WHERE project IS NOT DISTINCT FROM owner AND NOT (${isSame}) AND (NOT serves OR operation = 'rehosting')
      ),
      written AS (
        UPDATE valet.machines m
        SET ${ids}, absent_looks = 0, updated_at = valet.now(),
          status = CASE WHEN decided.stays THEN m.status ELSE 'discarded' END,
          attempts = CASE WHEN decided.stays THEN m.attempts ELSE 0 END,
          next_attempt_at = CASE WHEN decided.stays THEN m.next_attempt_at END
        FROM decided WHERE m.name = decided.name RETURNING m.*
      ),
      refreshed AS (
        UPDATE valet.machines m SET ${refresh} FROM found WHERE m.name = found.name AND ${isSame} RETURNING m.*
      )
      SELECT to_json(written) AS machine FROM written
      UNION ALL SELECT to_json(refreshed) FROM refreshed
      UNION ALL SELECT to_json(found) FROM found
      WHERE NOT EXISTS (SELECT FROM written) AND NOT EXISTS (SELECT FROM refreshed)`.pipe(
      Effect.flatMap(machineRows),
      first
    )

  const recordVolume: Provisioning["recordVolume"] = (name, { region, volumeId }) =>
    recordIds(
      name,
      sql`volume_id = ${volumeId}, region = ${region}, volume_gone = false`,
      sql`found.volume_id IS NOT DISTINCT FROM ${volumeId}`,
      sql`volume_id = m.volume_id`
    ).pipe(write("recordVolume"))

  const recordMachine: Provisioning["recordMachine"] = (name, { machineId, privateIp }) =>
    recordIds(
      name,
      sql`machine_id = ${machineId}, private_ip = ${privateIp}, machine_gone = false`,
      sql`found.machine_id IS NOT DISTINCT FROM ${machineId}`,
      sql`private_ip = coalesce(${privateIp}, m.private_ip)`
    ).pipe(write("recordMachine"))

  const markReady: Provisioning["markReady"] = (name) =>
    sql`
      UPDATE valet.machines SET status = 'ready', updated_at = valet.now()
      WHERE name = ${name} AND status = 'provisioning' AND project IS NULL
        AND machine_id IS NOT NULL AND volume_id IS NOT NULL
      RETURNING true`.pipe(changed, write("markReady"))

  /** The project's row stays as it is, so that its listeners are told here. */
  const clearMachine: Provisioning["clearMachine"] = (lease, name) =>
    sql`
      WITH ${f.held(sql`${f.isMine(lease)} AND operation = 'rehosting' AND machine = ${name}`)},
      cleared AS (
        UPDATE valet.machines m
        SET machine_id = NULL, private_ip = NULL, absent_looks = 0, updated_at = valet.now()
        FROM held WHERE m.name = held.machine AND m.project = held.project_id RETURNING m.project
      )
      SELECT pg_notify('valet_changes', project)::text FROM cleared`.pipe(changed, write("clearMachine"))

  return { claimNext, clearMachine, insertFor, insertPool, markReady, recordMachine, recordVolume }
}
