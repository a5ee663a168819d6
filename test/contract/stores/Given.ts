/** Projects and machines in the states that tests start from. Each is reached by the stores' own methods. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { MachineName, type MachineRow } from "../../../src/domain/Machine.ts"
import { type Lease, leaseOf, type Project } from "../../../src/domain/Project.ts"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { Archives } from "../../../src/services/db/Archives.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { type CreateProject, Projects } from "../../../src/services/db/Projects.ts"
import { minute, StoreTime } from "./StoreHarness.ts"

export const image = "registry.fly.io/app:v1"
export const region = "ams"
export const claim = { image, region }
export const leaseMs = minute
export const maxMachines = 1000

export const projectId = (text: string) => ProjectId.make(text)
export const machineName = (text: string) => MachineName.make(text)
export const checksum = "a".repeat(64)

export const isBegun = <Outcome extends { readonly _tag: string }>(
  outcome: Outcome
): outcome is Extract<Outcome, { readonly _tag: "Begun" }> => outcome._tag === "Begun"

/** The outcome, which must be `Begun`. */
export const begun = <Outcome extends { readonly _tag: string }>(
  outcome: Outcome
): Extract<Outcome, { readonly _tag: "Begun" }> => {
  if (!isBegun(outcome)) throw new Error(`expected Begun, got ${JSON.stringify(outcome)}`)
  return outcome
}

export const present = <A>(value: A | null | undefined): A => {
  if (value === null || value === undefined) throw new Error("expected a value")
  return value
}

export const newProject = (id: string, changes: Partial<CreateProject> = {}): CreateProject => ({
  projectId: projectId(id),
  uid: `uid-${id}`,
  region,
  deployKey: { sealed: `sealed-${id}`, keyId: "k1" },
  idleTimeoutSeconds: null,
  operationId: `create-${id}`,
  leaseMs,
  claim: null,
  limit: null,
  idempotency: null,
  ...changes
})

export const newMachine = (name: string, changes: Partial<typeof claim> = {}) => ({
  name: machineName(name),
  region,
  image,
  volumeSizeGb: 1,
  keyId: "k1",
  ...changes
})

export const create = (id: string, changes: Partial<CreateProject> = {}) =>
  Effect.flatMap(Projects, (projects) => projects.create(newProject(id, changes)))

export const creating = (id: string, changes: Partial<CreateProject> = {}) => Effect.map(create(id, changes), begun)

export const viewOf = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    return present(Option.getOrNull(yield* projects.find(projectId(id))))
  })

export const projectOf = (id: string) => Effect.map(viewOf(id), ({ project }) => project)

export const rowOf = (name: string) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    return present(yield* machines.find(machineName(name)))
  })

/** Both ids at Fly: `m-<name>` and `vol-<name>`. */
export const recorded = (name: string) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    yield* machines.recordVolume(machineName(name), { volumeId: `vol-${name}`, region })
    return present(yield* machines.recordMachine(machineName(name), { machineId: `m-${name}`, privateIp: "fdaa::1" }))
  })

/** A ready machine of the pool. */
export const ready = (name: string, changes: Partial<typeof claim> = {}) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    assert.isTrue(yield* machines.insertPool(newMachine(name, changes), maxMachines))
    yield* machines.recordVolume(machineName(name), { volumeId: `vol-${name}`, region: changes.region ?? region })
    yield* machines.recordMachine(machineName(name), { machineId: `m-${name}`, privateIp: "fdaa::1" })
    assert.isTrue(yield* machines.markReady(machineName(name)))
    return machineName(name)
  })

/** A machine that the lease's operation made for itself. */
export const cold = (lease: Lease, name: string) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    assert.strictEqual(yield* machines.insertFor(lease, newMachine(name), maxMachines), "inserted")
    yield* recorded(name)
    return machineName(name)
  })

/** Brings up what `lease` names, on a machine called `<id>m<generation>`. */
export const comeUp = (lease: Lease) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const name = yield* cold(lease, `${lease.projectId.replaceAll("-", "x")}m${lease.generation}`)
    return present(yield* projects.commitActive({ lease, machine: name }))
  })

export interface Active {
  readonly project: Project
  readonly machine: MachineRow
}

export const active = (id: string, changes: Partial<CreateProject> = {}) =>
  Effect.gen(function* () {
    const { project } = yield* creating(id, changes)
    const view = yield* comeUp(leaseOf(project))
    return { project: view.project, machine: present(view.machine) } satisfies Active
  })

export const waking = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const input = { projectId: projectId(id), operationId: `wake-${id}`, leaseMs, claim: null, force: true }
    return begun(yield* projects.beginWake(input))
  })

export const archiving = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const input = { projectId: projectId(id), operationId: `archive-${id}`, leaseMs, idleMs: 0, force: true }
    const outcome = begun(yield* projects.beginArchive(input))
    return { ...outcome, lease: leaseOf(outcome.project) }
  })

export const uploading = (id: string, r2Key: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const outcome = yield* archiving(id)
    assert.isTrue(yield* projects.startUpload({ lease: outcome.lease, r2Key, urlExpiresInMs: 15 * minute }))
    return outcome
  })

export const archived = (id: string, r2Key: string, machineDeleteAfterMs = 0) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const { lease, machine } = yield* uploading(id, r2Key)
    const commit = { lease, r2Key, r2Checksum: checksum, size: 4096, machineDeleteAfterMs }
    assert.isTrue(yield* projects.commitArchive(commit))
    return { project: yield* projectOf(id), machine }
  })

/** Archived once, under `r2Key`. */
export const dormant = (id: string, r2Key = `${id}-1`) => Effect.andThen(active(id), archived(id, r2Key))

export const rehosting = (id: string, machine: MachineName, force = false) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const outcome = begun(
      yield* projects.beginRehost({
        projectId: projectId(id),
        operationId: `rehost-${id}`,
        leaseMs,
        machine,
        reason: "unreachable",
        force
      })
    )
    return { ...outcome, lease: leaseOf(outcome.project) }
  })

/** Active, but its machine and volume are lost. */
export const unavailable = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const { machine } = yield* active(id)
    const { lease } = yield* rehosting(id, machine.name)
    const failure = { lease, error: "volume is gone", retryAfterMs: minute, dataUnavailable: true }
    assert.isTrue(yield* projects.failRehost(failure))
    return { project: yield* projectOf(id), machine: yield* rowOf(machine.name) }
  })

export const deleted = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const begin = { projectId: projectId(id), operationId: `delete-${id}`, leaseMs, force: true }
    const { project } = begun(yield* projects.beginDelete(begin))
    assert.isTrue(yield* projects.commitDelete({ lease: leaseOf(project), machineDeleteAfterMs: 0 }))
    return yield* projectOf(id)
  })

/** Kinds of the project's events, oldest first. */
export const eventKinds = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const events = yield* projects.events({ projectId: projectId(id), limit: 100, before: null })
    return events.map(({ kind }) => kind).toReversed()
  })

export const lastEvent = (id: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const [event] = yield* projects.events({ projectId: projectId(id), limit: 1, before: null })
    return present(event)
  })

/** Statuses of the project's archives, by object key. */
export const archiveStatuses = (id: string) =>
  Effect.gen(function* () {
    const archives = yield* Archives
    const rows = (yield* archives.living).filter((row) => row.projectId === projectId(id))
    return Object.fromEntries(rows.map((row) => [row.r2Key, row.status]))
  })

/** Equal but for the time that passes by itself. */
export const assertNear = (actual: number | null, expected: number) =>
  Effect.map(StoreTime, ({ driftMs }) => {
    const apart = Math.abs(present(actual) - expected)
    assert.isAtMost(apart, driftMs, `${actual} should be ${expected}`)
  })

/** Past a moment that several rows, written one after another, stand a little apart from. */
export const settle = Effect.flatMap(StoreTime, ({ advance, driftMs }) => advance(driftMs / 5))
