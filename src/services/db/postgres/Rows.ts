/**
 * Rows as `to_json` writes them, and the domain's values. Times are ISO strings with an offset in whole milliseconds,
 * bigints are JSON numbers: the one place where either becomes a number of the domain.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { archiveStatuses, type ArchiveRow } from "../../../domain/Archive.ts"
import { eventKinds, type ProjectEvent } from "../../../domain/Event.ts"
import { MachineName, machineStatuses, type MachineRow } from "../../../domain/Machine.ts"
import { operations, projectStates, type Project } from "../../../domain/Project.ts"
import { ProjectId } from "../../../domain/ProjectId.ts"
import type { ProjectView } from "../Projects.ts"

const NullOrText = Schema.NullOr(Schema.String)
const NullOrInt = Schema.NullOr(Schema.Int)

const ProjectJson = Schema.Struct({
  project_id: ProjectId,
  uid: Schema.String,
  state: Schema.Literals(projectStates),
  operation: Schema.Literals(operations),
  operation_id: NullOrText,
  generation: Schema.Int,
  lease_until: NullOrText,
  uploading: Schema.Boolean,
  machine: Schema.NullOr(MachineName),
  region: Schema.String,
  dirty: Schema.Boolean,
  data_unavailable: Schema.Boolean,
  deploy_key_sealed: Schema.String,
  deploy_key_id: Schema.String,
  idle_timeout_seconds: NullOrInt,
  dormancy_threshold_seconds: NullOrInt,
  pinned: Schema.Boolean,
  attempts: Schema.Int,
  next_attempt_at: NullOrText,
  last_error: NullOrText,
  created_at: Schema.String,
  last_active_at: Schema.String,
  deleted_at: NullOrText
})

const MachineJson = Schema.Struct({
  name: MachineName,
  project: Schema.NullOr(ProjectId),
  generation: Schema.Int,
  region: Schema.String,
  image: Schema.String,
  volume_size_gb: Schema.Int,
  machine_id: NullOrText,
  volume_id: NullOrText,
  private_ip: NullOrText,
  key_id: Schema.String,
  status: Schema.Literals(machineStatuses),
  served: Schema.Boolean,
  released: Schema.Boolean,
  attempts: Schema.Int,
  next_attempt_at: NullOrText,
  last_error: NullOrText,
  absent_looks: Schema.Int,
  created_at: Schema.String,
  updated_at: Schema.String
})

const ArchiveJson = Schema.Struct({
  r2_key: Schema.String,
  project_id: ProjectId,
  project_uid: Schema.String,
  generation: Schema.Int,
  r2_checksum: NullOrText,
  size: NullOrInt,
  url_expires_at: Schema.String,
  status: Schema.Literals(archiveStatuses),
  attempts: Schema.Int,
  next_attempt_at: NullOrText,
  last_error: NullOrText,
  created_at: Schema.String
})

const EventJson = Schema.Struct({
  id: Schema.Int,
  project_id: ProjectId,
  at: Schema.String,
  kind: Schema.Literals(eventKinds),
  generation: Schema.Int,
  detail: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean, Schema.Null]))
})

const at = (text: string): number => Date.parse(text)
const atOrNull = (text: string | null): number | null => (text === null ? null : Date.parse(text))

const toProject = (row: typeof ProjectJson.Type): Project => ({
  projectId: row.project_id,
  uid: row.uid,
  state: row.state,
  operation: row.operation,
  operationId: row.operation_id,
  generation: row.generation,
  leaseUntil: atOrNull(row.lease_until),
  uploading: row.uploading,
  machine: row.machine,
  region: row.region,
  dirty: row.dirty,
  dataUnavailable: row.data_unavailable,
  deployKey: { sealed: row.deploy_key_sealed, keyId: row.deploy_key_id },
  settings: {
    idleTimeoutSeconds: row.idle_timeout_seconds,
    dormancyThresholdSeconds: row.dormancy_threshold_seconds,
    pinned: row.pinned
  },
  attempts: row.attempts,
  nextAttemptAt: atOrNull(row.next_attempt_at),
  lastError: row.last_error,
  createdAt: at(row.created_at),
  lastActiveAt: at(row.last_active_at),
  deletedAt: atOrNull(row.deleted_at)
})

const toMachine = (row: typeof MachineJson.Type): MachineRow => ({
  name: row.name,
  project: row.project,
  generation: row.generation,
  region: row.region,
  image: row.image,
  volumeSizeGb: row.volume_size_gb,
  machineId: row.machine_id,
  volumeId: row.volume_id,
  privateIp: row.private_ip,
  keyId: row.key_id,
  status: row.status,
  served: row.served,
  released: row.released,
  attempts: row.attempts,
  nextAttemptAt: atOrNull(row.next_attempt_at),
  lastError: row.last_error,
  absentLooks: row.absent_looks,
  createdAt: at(row.created_at),
  updatedAt: at(row.updated_at)
})

const toArchive = (row: typeof ArchiveJson.Type): ArchiveRow => ({
  r2Key: row.r2_key,
  projectId: row.project_id,
  projectUid: row.project_uid,
  generation: row.generation,
  r2Checksum: row.r2_checksum,
  size: row.size,
  urlExpiresAt: at(row.url_expires_at),
  status: row.status,
  attempts: row.attempts,
  nextAttemptAt: atOrNull(row.next_attempt_at),
  lastError: row.last_error,
  createdAt: at(row.created_at)
})

const toEvent = (row: typeof EventJson.Type): ProjectEvent => ({
  id: row.id,
  projectId: row.project_id,
  at: at(row.at),
  kind: row.kind,
  generation: row.generation,
  detail: row.detail
})

const rows = <S extends Schema.Decoder<unknown>>(schema: S) => {
  const decode = Schema.decodeUnknownEffect(Schema.Array(schema))
  return (found: ReadonlyArray<unknown>) => decode(found)
}

const Found = Schema.Struct({
  project: Schema.NullOr(ProjectJson),
  machine: Schema.NullOr(MachineJson),
  archive: Schema.optionalKey(Schema.NullOr(ArchiveJson))
})
const decodeFound = rows(Found)

export interface Found {
  readonly project: Project
  readonly machine: MachineRow | null
  readonly archive: ArchiveRow | null
}

/** Rows of `project`, `machine` and, where asked for, `archive`. */
export const foundRows = (found: ReadonlyArray<unknown>) =>
  Effect.map(decodeFound(found), (all) =>
    all.flatMap(({ archive, machine, project }): ReadonlyArray<Found> =>
      project === null
        ? []
        : [
            {
              project: toProject(project),
              machine: machine === null ? null : toMachine(machine),
              archive: archive === null || archive === undefined ? null : toArchive(archive)
            }
          ]
    )
  )

/** The first row without its archive. */
export const viewOf = (found: ReadonlyArray<Found>): ProjectView | null => {
  const row = found[0]
  return row === undefined ? null : { project: row.project, machine: row.machine }
}

const decodeProjects = rows(Schema.Struct({ project: ProjectJson }))
const decodeMachines = rows(Schema.Struct({ machine: MachineJson }))
const decodeArchives = rows(Schema.Struct({ archive: ArchiveJson }))
const decodeEvents = rows(Schema.Struct({ event: EventJson }))

export const projectRows = (found: ReadonlyArray<unknown>) =>
  Effect.map(decodeProjects(found), (all) => all.map(({ project }) => toProject(project)))
export const machineRows = (found: ReadonlyArray<unknown>) =>
  Effect.map(decodeMachines(found), (all) => all.map(({ machine }) => toMachine(machine)))
export const archiveRows = (found: ReadonlyArray<unknown>) =>
  Effect.map(decodeArchives(found), (all) => all.map(({ archive }) => toArchive(archive)))
export const eventRows = (found: ReadonlyArray<unknown>) =>
  Effect.map(decodeEvents(found), (all) => all.map(({ event }) => toEvent(event)))
