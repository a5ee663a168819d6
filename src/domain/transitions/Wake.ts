/** Creating and waking: from nothing, or dormant, to active. */
import type { MachineName, MachineRow } from "../Machine.ts"
import { holds, type Lease, type Project, type SealedKey } from "../Project.ts"
import type { ProjectId } from "../ProjectId.ts"
import {
  type Begin,
  begun,
  discarded,
  released,
  ended,
  event,
  heldBeside,
  leaseExpired,
  nothing,
  type ProjectRows,
  reached,
  takenOver,
  withFailure,
  withoutFailures,
  type Written
} from "./Rows.ts"

/** How long a create may be repeated with the same idempotency key. */
export const idempotencyMs = 24 * 60 * 60_000

export interface NewProject extends Begin {
  readonly projectId: ProjectId
  readonly uid: string
  readonly region: string
  readonly deployKey: SealedKey
  readonly idleTimeoutSeconds: number | null
}

const comesUp = (project: Project): boolean => project.operation === "creating" || project.operation === "waking"

/** A pool machine becomes the operation's. */
export const claimed = (row: MachineRow, project: Project, now: number): MachineRow => ({
  ...row,
  status: "assigned",
  project: project.projectId,
  generation: project.generation,
  updatedAt: now
})

/** The oldest ready machine that fits; ties by name. */
export const oldestReady = (
  rows: Iterable<MachineRow>,
  claim: { readonly image: string; readonly region: string } | null
): MachineRow | null => {
  if (claim === null) return null
  let oldest: MachineRow | null = null
  for (const row of rows) {
    if (row.status !== "ready" || row.image !== claim.image || row.region !== claim.region) continue
    const older =
      oldest === null ||
      row.createdAt < oldest.createdAt ||
      (row.createdAt === oldest.createdAt && row.name < oldest.name)
    if (older) oldest = row
  }
  return oldest
}

const withClaim = (row: MachineRow | null, project: Project, now: number): ReadonlyArray<MachineRow> =>
  row === null ? [] : [claimed(row, project, now)]

export const create = (input: NewProject, ready: MachineRow | null, now: number): Written => {
  const project: Project = {
    projectId: input.projectId,
    uid: input.uid,
    state: "dormant",
    operation: "creating",
    operationId: input.operationId,
    generation: 1,
    leaseUntil: now + input.leaseMs,
    uploading: false,
    machine: null,
    region: input.region,
    dirty: false,
    dataUnavailable: false,
    deployKey: input.deployKey,
    settings: { idleTimeoutSeconds: input.idleTimeoutSeconds, dormancyThresholdSeconds: null, pinned: false },
    attempts: 0,
    nextAttemptAt: null,
    lastError: null,
    createdAt: now,
    lastActiveAt: now,
    deletedAt: null
  }
  return {
    project,
    machines: withClaim(ready, project, now),
    archives: [],
    events: [event("created", project, { region: input.region, machine: ready?.name ?? null })]
  }
}

/** dormant (none, or coming up with an expired lease) → waking. */
export const beginWake = (
  rows: ProjectRows,
  input: Begin & { readonly force?: boolean },
  ready: MachineRow | null,
  now: number
): Written | null => {
  const { project } = rows
  if (project.state !== "dormant") return null
  const takesOver = comesUp(project) && leaseExpired(project, now)
  if (project.operation !== "none" && !takesOver) return null
  if (input.force !== true && !reached(project.nextAttemptAt, now)) return null
  const after = begun(project, "waking", input, now)
  const left = takesOver ? takenOver(rows, after, now) : nothing
  return {
    project: after,
    machines: [...left.machines, ...withClaim(ready, after, now)],
    archives: left.archives,
    events: [...left.events, event("wake_begun", after, { machine: ready?.name ?? null })]
  }
}

/**
 * creating/waking/rehosting → active. The row must be the operation's own (its generation), or in a rehost in place
 * the project's machine; it must have a machine id and must not lie in the bin.
 */
export const commitActive = (
  rows: ProjectRows,
  { lease, machine }: { readonly lease: Lease; readonly machine: MachineName },
  now: number
): Written | null => {
  const { machines, project } = rows
  const rehosts = project.operation === "rehosting"
  if (!holds(project, lease) || !(comesUp(project) || rehosts)) return null
  const row = machines.find((candidate) => candidate.name === machine)
  if (row === undefined || row.machineId === null) return null
  if (row.status !== "provisioning" && row.status !== "assigned") return null
  if (row.generation !== project.generation && !(rehosts && project.machine === machine)) return null

  const after: Project = {
    ...withoutFailures(ended(project)),
    state: "active",
    machine,
    dirty: true,
    dataUnavailable: false,
    lastActiveAt: now
  }
  const serving: MachineRow = {
    ...row,
    status: "assigned",
    generation: project.generation,
    served: true,
    released: false,
    updatedAt: now
  }
  const beside = heldBeside(rows).filter((other) => other.name !== machine)
  const forkedFrom = machines.find((other) => other.name === project.machine && other.name !== machine)
  return {
    project: after,
    machines: [
      serving,
      ...beside.map((other) => discarded(other, now)),
      // What a fork was made of is safe in it. What was lost is not in a snapshot: its volume stays if it ever returns.
      ...(forkedFrom === undefined
        ? []
        : [project.dataUnavailable ? discarded(forkedFrom, now) : released(forkedFrom, now)])
    ],
    archives: [],
    events: [event(rehosts ? "rehosted" : "woken", after, { machine, region: row.region })]
  }
}

const fallAsleep = (rows: ProjectRows, now: number): ReadonlyArray<MachineRow> =>
  heldBeside(rows).map((row) => discarded(row, now))

/** creating/waking → dormant, with an attempt counted. */
export const failWake = (
  rows: ProjectRows,
  input: { readonly lease: Lease; readonly error: string; readonly retryAfterMs: number | null },
  now: number
): Written | null => {
  const { project } = rows
  if (!holds(project, input.lease) || !comesUp(project)) return null
  const after = withFailure(ended(project), input.error, input.retryAfterMs, now)
  return {
    project: after,
    machines: fallAsleep(rows, now),
    archives: [],
    events: [event("wake_failed", after, { error: input.error })]
  }
}

/** creating/waking with an expired lease → dormant; the next request begins anew. */
export const expireWake = (rows: ProjectRows, now: number): Written | null => {
  const { project } = rows
  if (!comesUp(project) || !leaseExpired(project, now)) return null
  const after: Project = { ...ended(project), generation: project.generation + 1 }
  return { project: after, ...takenOver(rows, after, now) }
}
