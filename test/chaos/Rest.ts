/** What is not at rest: operations, rows under way, and every difference between the ledgers and what there really is. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Site } from "./Site.ts"

export interface Unrest {
  /** Not over yet: an operation, a project that is idle and not dormant, a machine on its way. */
  readonly stuck: ReadonlyArray<string>
  /** Exists and stands in no ledger, or the other way round. */
  readonly orphans: ReadonlyArray<string>
}

const Rows = {
  projects: Schema.Array(
    Schema.Struct({
      project_id: Schema.String,
      state: Schema.String,
      operation: Schema.String,
      data_unavailable: Schema.Boolean,
      attempts: Schema.Int,
      last_error: Schema.NullOr(Schema.String)
    })
  ),
  machines: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      status: Schema.String,
      project: Schema.NullOr(Schema.String),
      machine_id: Schema.NullOr(Schema.String),
      volume_id: Schema.NullOr(Schema.String),
      attempts: Schema.Int,
      last_error: Schema.NullOr(Schema.String)
    })
  ),
  archives: Schema.Array(
    Schema.Struct({
      r2_key: Schema.String,
      status: Schema.String,
      size: Schema.NullOr(Schema.Finite),
      r2_checksum: Schema.NullOr(Schema.String)
    })
  )
}
type Row<Table extends keyof typeof Rows> = (typeof Rows)[Table]["Type"][number]

export interface Snapshot {
  readonly projects: ReadonlyArray<Row<"projects">>
  readonly machines: ReadonlyArray<Row<"machines">>
  readonly archives: ReadonlyArray<Row<"archives">>
  readonly fly: {
    readonly machines: ReadonlyArray<{ readonly id: string; readonly name: string; readonly state: string }>
    readonly volumes: ReadonlyArray<{ readonly id: string; readonly name: string; readonly state: string }>
  }
  readonly objects: ReadonlyArray<{ readonly key: string; readonly size: number }>
}

const stored = new Set(["current", "previous"])

/** Pure. An upload that failed may leave an object: as long as its row stands it is recorded, and goes with it. */
export const unrestOf = (snapshot: Snapshot): Unrest => {
  const stuck: Array<string> = []
  const orphans: Array<string> = []
  for (const row of snapshot.projects) {
    const why = row.last_error === null ? "" : ` (${row.attempts} attempts, last: ${row.last_error})`
    if (row.operation !== "none") stuck.push(`project ${row.project_id} is ${row.operation}${why}`)
    else if (row.data_unavailable) stuck.push(`project ${row.project_id} has no data`)
    else if (row.state !== "dormant") stuck.push(`project ${row.project_id} is ${row.state}${why}`)
  }
  const machineIds = new Set(snapshot.fly.machines.map(({ id }) => id))
  const volumeIds = new Set(snapshot.fly.volumes.map(({ id }) => id))
  const ledgerMachines = new Set<string>()
  const ledgerVolumes = new Set<string>()
  for (const row of snapshot.machines) {
    if (row.machine_id !== null) ledgerMachines.add(row.machine_id)
    if (row.volume_id !== null) ledgerVolumes.add(row.volume_id)
    if (row.status !== "ready") {
      const why = row.last_error === null ? "" : ` (${row.attempts} attempts, last: ${row.last_error})`
      stuck.push(`machine ${row.name} of ${row.project ?? "the pool"} is ${row.status}${why}`)
      continue
    }
    if (row.machine_id === null || !machineIds.has(row.machine_id)) orphans.push(`${row.name}: no machine at Fly`)
    if (row.volume_id === null || !volumeIds.has(row.volume_id)) orphans.push(`${row.name}: no volume at Fly`)
  }
  for (const { id, name, state } of snapshot.fly.machines) {
    if (!ledgerMachines.has(id)) orphans.push(`machine ${id} (${name}, ${state}) stands in no row`)
  }
  for (const { id, name, state } of snapshot.fly.volumes) {
    if (!ledgerVolumes.has(id)) orphans.push(`volume ${id} (${name}, ${state}) stands in no row`)
  }
  const archives = new Map(snapshot.archives.map((row) => [row.r2_key, row]))
  const objects = new Map(snapshot.objects.map((object) => [object.key, object]))
  for (const { key } of snapshot.objects) {
    if (!archives.has(key)) orphans.push(`object ${key} stands in no row`)
  }
  for (const row of snapshot.archives) {
    if (row.status === "uploading") stuck.push(`archive ${row.r2_key} is uploading`)
    if (!stored.has(row.status)) continue
    const object = objects.get(row.r2_key)
    if (object === undefined) orphans.push(`archive ${row.r2_key} (${row.status}) has no object`)
    else if (object.size !== row.size) orphans.push(`archive ${row.r2_key} is ${object.size} bytes, not ${row.size}`)
  }
  return { stuck, orphans }
}

const decode = <A>(schema: Schema.Codec<A, unknown>, rows: unknown) =>
  Effect.orDie(Schema.decodeUnknownEffect(schema)(rows))

export const snapshot = (site: Site) =>
  Effect.gen(function* () {
    const projects = yield* site.query(
      "SELECT project_id, state, operation, data_unavailable, attempts, last_error FROM valet.projects WHERE state <> 'deleted'"
    )
    const machines = yield* site.query(
      "SELECT name, status, project, machine_id, volume_id, attempts, last_error FROM valet.machines WHERE status <> 'gone'"
    )
    const archives = yield* site.query(
      "SELECT r2_key, status, size::float8 AS size, r2_checksum FROM valet.archives WHERE status <> 'gone'"
    )
    const seen: Snapshot = {
      projects: yield* decode(Rows.projects, projects),
      machines: yield* decode(Rows.machines, machines),
      archives: yield* decode(Rows.archives, archives),
      fly: yield* site.fly,
      objects: yield* site.objects
    }
    return seen
  })

/** Reads every archive back: what does not have its recorded SHA-256. */
export const damaged = (site: Site, { archives }: Snapshot) =>
  Effect.forEach(
    archives.filter(({ status }) => stored.has(status)),
    (row) =>
      site.checksum(row.r2_key).pipe(
        Effect.map(({ sha256 }) => (sha256 === row.r2_checksum ? [] : [`archive ${row.r2_key} has another SHA-256`])),
        Effect.catch((error) => Effect.succeed([error.message]))
      ),
    { concurrency: 4 }
  ).pipe(Effect.map((all) => all.flat()))
