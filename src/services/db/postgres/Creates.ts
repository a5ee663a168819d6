/**
 * Creating: idempotency, sliding windows and the row in one transaction. An advisory lock of the client makes its
 * creates follow one another, whichever instance they reach, so that no two see the same window.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { retryAfterMs } from "../../../domain/RateLimit.ts"
import { idempotencyMs } from "../../../domain/transitions/Wake.ts"
import type { Begun, CreateOutcome, CreateProject, Projects } from "../Projects.ts"
import { fragments } from "./Fragments.ts"
import { foundRows, viewOf } from "./Rows.ts"
import { transaction } from "./Run.ts"
import { claimFrom } from "./Wakes.ts"

const hourMs = 60 * 60_000
/** Expired rows of other clients that one create clears away: more than it adds. */
const prunedAtOnce = 20

const Accepted = Schema.Tuple([Schema.Struct({ now: Schema.String, accepted: Schema.Array(Schema.String) })])
const decodeAccepted = Schema.decodeUnknownEffect(Accepted)

export const makeCreates = (sql: SqlClient.SqlClient): Pick<Projects["Service"], "create"> => {
  const f = fragments(sql)

  const lockClients = (input: CreateProject) => {
    const clients = new Set([input.limit?.client, input.idempotency?.client].filter((client) => client !== undefined))
    return Effect.forEach(
      [...clients].toSorted(),
      (client) => sql`SELECT pg_advisory_xact_lock(hashtextextended(${`valet create ${client}`}, 0))`,
      { discard: true }
    )
  }

  const findRepeated = ({ client, key }: { readonly client: string; readonly key: string }) =>
    sql`
      SELECT to_json(p) AS project, to_json(m) AS machine
      FROM valet.idempotency_keys k JOIN valet.projects p USING (project_id)
      LEFT JOIN valet.machines m ON m.name = p.machine
      WHERE k.client = ${client} AND k.key = ${key} AND k.at > valet.now() - valet.ms(${idempotencyMs}::float8)`.pipe(
      Effect.flatMap(foundRows),
      Effect.map(viewOf)
    )

  const waitFor = ({ client, windows }: NonNullable<CreateProject["limit"]>) =>
    sql`
      SELECT to_json(valet.now()) AS now, coalesce((
        SELECT json_agg(at) FROM valet.accepted_creates
        WHERE client = ${client} AND at > valet.now() - valet.ms(${longest(windows)}::float8)
      ), '[]') AS accepted`.pipe(
      Effect.flatMap(decodeAccepted),
      Effect.map(([{ accepted, now }]) => retryAfterMs(accepted.map(Date.parse), windows, Date.parse(now)))
    )

  const insert = (input: CreateProject) => sql`
    WITH after AS (
      INSERT INTO valet.projects (
        project_id, uid, state, operation, operation_id, operation_began_at, generation, lease_until, region,
        deploy_key_sealed, deploy_key_id, idle_timeout_seconds, created_at, last_active_at
      )
      VALUES (
        ${input.projectId}, ${input.uid}, 'dormant', 'creating', ${input.operationId}, valet.now(), 1,
        ${f.fromNow(input.leaseMs)}, ${input.region}, ${input.deployKey.sealed}, ${input.deployKey.keyId},
        ${input.idleTimeoutSeconds}::int, valet.now(), valet.now()
      )
      ON CONFLICT DO NOTHING RETURNING *
    ),
    ${claimFrom(sql, input.claim)},
    accepted AS (
      INSERT INTO valet.accepted_creates (client, at, project_id)
      SELECT ${input.limit?.client ?? null}, created_at, project_id FROM after WHERE ${input.limit !== null}::bool
    ),
    idempotent AS (
      INSERT INTO valet.idempotency_keys (client, key, project_id, at)
      SELECT ${input.idempotency?.client ?? null}, ${input.idempotency?.key ?? null}, project_id, created_at
      FROM after WHERE ${input.idempotency !== null}::bool
      ON CONFLICT (client, key) DO UPDATE SET project_id = excluded.project_id, at = excluded.at
    ),
    written AS (
      INSERT INTO valet.events (project_id, at, kind, generation, detail)
      SELECT project_id, created_at, 'created', generation,
        jsonb_build_object('region', region, 'machine', (SELECT name FROM claimed))
      FROM after
    )
    SELECT to_json(after) AS project, to_json(claimed) AS machine FROM after LEFT JOIN claimed ON true`

  const prune = (keepMs: number) => sql`
    WITH old_creates AS MATERIALIZED (
      SELECT client, at, project_id FROM valet.accepted_creates
      WHERE at <= valet.now() - valet.ms(${keepMs}::float8) ORDER BY at LIMIT ${prunedAtOnce} FOR UPDATE SKIP LOCKED
    ),
    old_keys AS MATERIALIZED (
      SELECT client, key FROM valet.idempotency_keys
      WHERE at <= valet.now() - valet.ms(${idempotencyMs}::float8) ORDER BY at LIMIT ${prunedAtOnce}
      FOR UPDATE SKIP LOCKED
    ),
    pruned_creates AS (
      DELETE FROM valet.accepted_creates WHERE (client, at, project_id) IN (SELECT * FROM old_creates)
    )
    DELETE FROM valet.idempotency_keys WHERE (client, key) IN (SELECT * FROM old_keys)`

  const steps = Effect.fnUntraced(function* (input: CreateProject) {
    yield* lockClients(input)
    const earlier = input.idempotency === null ? null : yield* findRepeated(input.idempotency)
    if (earlier !== null) return { _tag: "Repeated", view: earlier } satisfies CreateOutcome
    const wait = input.limit === null ? 0 : yield* waitFor(input.limit)
    if (wait > 0) return { _tag: "RateLimited", retryAfterMs: wait } satisfies CreateOutcome
    const inserted = yield* Effect.flatMap(insert(input), foundRows)
    if (input.limit !== null || input.idempotency !== null) {
      yield* prune(Math.max(hourMs, longest(input.limit?.windows ?? [])))
    }
    const row = inserted[0]
    return row === undefined
      ? ({ _tag: "Exists" } satisfies CreateOutcome)
      : ({ _tag: "Begun", ...row } satisfies Begun)
  })

  return {
    create: (input) => transaction(sql, "create")(steps(input))
  }
}

const longest = (windows: ReadonlyArray<{ readonly windowMs: number }>): number =>
  Math.max(0, ...windows.map(({ windowMs }) => windowMs))
