/**
 * Runs a history on any stores and tells what came of each step. Two implementations agree where their observations
 * are deeply equal. Times are told as minutes since the first step, because a live database's time moves by itself: a
 * history must take less than a minute of real time.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ArchiveRow } from "../../../src/domain/Archive.ts"
import { MachineName, type MachineRow } from "../../../src/domain/Machine.ts"
import { type Lease, leaseOf, type Project } from "../../../src/domain/Project.ts"
import { ProjectId } from "../../../src/domain/ProjectId.ts"
import { Archives } from "../../../src/services/db/Archives.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Plane } from "../../../src/services/db/Plane.ts"
import { Projects, type ProjectView } from "../../../src/services/db/Projects.ts"
import type { StoreError } from "../../../src/services/db/StoreError.ts"
import type { History, Step, Which } from "./HistorySteps.ts"
import { minute, StoreTime, type Stores } from "./StoreHarness.ts"

export interface Observation {
  readonly index: number
  readonly step: Step
  /** What the step returned. */
  readonly result: unknown
  /** All rows after it. */
  readonly rows: unknown
}

/** The projects that a history speaks of: `p0` … */
export const historyProjects = 5

const image = "registry.fly.io/app:v1"
const leaseMs = 2 * minute
const many = 1000
const together = { concurrency: 16 } as const
const windows = [
  { limit: 2, windowMs: 5 * minute },
  { limit: 4, windowMs: 60 * minute }
]

export const projectId = (project: number) => ProjectId.make(`p${project}`)

/** Fields that hold a moment, and those that hold a duration. */
const moments = /(?:At|Until|_at)$|^at$/
const durations = /^(?:retryAfterMs|waitMs)$/
const secondsFields = /^idle_seconds$/
/** Positions that an implementation may choose as it likes. */
const opaque = /^id$/

/** Statements that wait for one another may tell a moment that the clock has passed by so much, in milliseconds. */
const disorderMs = 1000

/** Times as whole minutes since `start`, without what implementations may choose as they like. */
export const normalize =
  (start: number) =>
  (value: unknown, key = ""): unknown => {
    if (typeof value === "number") {
      if (moments.test(key)) return Math.floor((value - start) / minute)
      if (durations.test(key)) return Math.max(0, Math.ceil((value - disorderMs) / minute))
      if (secondsFields.test(key)) return Math.floor((value + disorderMs / 1000) / 60)
      return value
    }
    if (Array.isArray(value)) return value.map((item) => normalize(start)(item))
    if (Option.isOption(value)) return normalize(start)(Option.getOrNull(value))
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(
        Object.entries(value)
          .filter(([name]) => !opaque.test(name))
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, item]) => [name, normalize(start)(item, name)])
      )
    }
    return value
  }

const by =
  <A>(key: (value: A) => string) =>
  (a: A, b: A): number =>
    key(a) < key(b) ? -1 : 1

/** All rows that a history knows of. */
export interface Seen {
  readonly projects: ReadonlyArray<Option.Option<ProjectView>>
  readonly machines: ReadonlyArray<MachineRow | null>
  readonly archives: ReadonlyArray<ArchiveRow>
}

/** What the steps' numbers stand for, as far as the history has come. */
export class World {
  readonly leases = new Map<number, ReadonlyArray<Lease>>()
  readonly keys = new Map<number, ReadonlyArray<string>>()
  /** In the order of their rows, which is the order of their names. */
  readonly machines: Array<MachineName> = []
  /** Begun by, claimed for, made for a project: the newest. */
  readonly newest = new Map<number, MachineName>()
  /** The rows before the step: what a step names of them, it names by these. */
  seen: Seen = { projects: [], machines: [], archives: [] }
  readonly maxMachines: number

  constructor(maxMachines = 60) {
    this.maxMachines = maxMachines
  }

  copy(): World {
    const copy = new World(this.maxMachines)
    copy.add(this, new World())
    copy.seen = this.seen
    return copy
  }

  /** What `later` learnt since it was a copy of `earlier`. */
  add(later: World, earlier: World): void {
    for (const [project, leases] of later.leases) {
      const learnt = leases.slice(earlier.leases.get(project)?.length ?? 0)
      const known = [...(this.leases.get(project) ?? []), ...learnt]
      this.leases.set(
        project,
        known.toSorted((a, b) => a.generation - b.generation)
      )
    }
    for (const [project, keys] of later.keys) {
      const learnt = keys.slice(earlier.keys.get(project)?.length ?? 0)
      this.keys.set(project, [...(this.keys.get(project) ?? []), ...learnt])
    }
    for (const [project, name] of later.newest) {
      if (earlier.newest.get(project) !== name) this.newest.set(project, name)
    }
    this.machines.push(...later.machines.slice(earlier.machines.length))
    this.machines.sort()
  }

  project(project: number): ProjectView | null {
    return Option.getOrNull(this.seen.projects[project] ?? Option.none())
  }

  /** The machine that serves the project. */
  committed(project: number): MachineName {
    return this.project(project)?.project.machine ?? this.machine(0)
  }

  machineId(name: MachineName): string | null {
    return this.seen.machines.find((row) => row?.name === name)?.machineId ?? null
  }

  archive(position: number): string {
    const { archives } = this.seen
    return archives[position % Math.max(1, archives.length)]?.r2Key ?? "none"
  }

  lease(project: number, which: Which): Lease {
    const leases = this.leases.get(project) ?? []
    const lease = which === "last" ? leases.at(-1) : leases.at(-2)
    return lease ?? { projectId: projectId(project), operationId: "none", generation: 1 }
  }

  begun(project: number, row: Project, machine: MachineRow | null): void {
    this.leases.set(project, [...(this.leases.get(project) ?? []), leaseOf(row)])
    if (machine !== null) this.newest.set(project, machine.name)
  }

  newName(index: number): MachineName {
    const name = MachineName.make(`m${String(index).padStart(4, "0")}`)
    this.machines.push(name)
    return name
  }

  /** The nearer the end, the likelier that it still matters. */
  machine(fromEnd: number): MachineName {
    return this.machines.at(-1 - (fromEnd % Math.max(1, this.machines.length))) ?? MachineName.make("none")
  }
}

/** One step, named by the world and told to it: the same step in the same world asks for the same. */
export const perform = (step: Step, index: number, world: World): Effect.Effect<unknown, StoreError, Stores> =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const machines = yield* Machines
    const archives = yield* Archives
    const plane = yield* Plane
    const operationId = `op-${index}`
    const begin = (project: number) => ({ projectId: projectId(project), operationId, leaseMs })
    const newMachine = (region: string) => ({ name: world.newName(index), region, image, volumeSizeGb: 1, keyId: "k1" })
    const volumeOf = (name: MachineName, suffix = "") => ({ volumeId: `vol-${name}${suffix}`, region: "ams" })
    const machineOf = (name: MachineName, suffix = "") => ({ machineId: `m-${name}${suffix}`, privateIp: "fdaa::1" })

    switch (step.op) {
      case "advance": {
        const time = yield* StoreTime
        return yield* time.advance(step.minutes * minute)
      }
      case "create": {
        const outcome = yield* projects.create({
          ...begin(step.project),
          uid: `uid-${step.project}`,
          region: "ams",
          deployKey: { sealed: "sealed", keyId: "k1" },
          idleTimeoutSeconds: null,
          claim: step.claims ? { image, region: "ams" } : null,
          limit: step.client === null ? null : { client: `c${step.client}`, windows },
          idempotency: step.key === null ? null : { client: `c${step.client}`, key: `k${step.key}` }
        })
        if (outcome._tag === "Begun") world.begun(step.project, outcome.project, outcome.machine)
        return outcome
      }
      case "beginWake": {
        const claim = step.claims ? { image, region: "ams" } : null
        const outcome = yield* projects.beginWake({ ...begin(step.project), claim, force: step.force })
        if (outcome._tag === "Begun") world.begun(step.project, outcome.project, outcome.machine)
        return outcome
      }
      case "renew":
        return yield* projects.renew(world.lease(step.project, step.lease), step.minutes * minute)
      case "commitActive": {
        const own = world.newest.get(step.project) ?? world.machine(0)
        const machine = step.machine === "newest" ? own : world.machine(step.machine)
        return yield* projects.commitActive({ lease: world.lease(step.project, step.lease), machine })
      }
      case "failWake":
        return yield* projects.failWake({
          lease: world.lease(step.project, step.lease),
          error: `failed ${index}`,
          retryAfterMs: step.minutes === null ? null : step.minutes * minute
        })
      case "expireWake":
        return yield* projects.expireWake(projectId(step.project))
      case "beginArchive": {
        const outcome = yield* projects.beginArchive({ ...begin(step.project), idleMs: 60 * minute, force: step.force })
        if (outcome._tag === "Begun") world.begun(step.project, outcome.project, null)
        return outcome
      }
      case "startUpload": {
        const keys = world.keys.get(step.project) ?? []
        const r2Key = (step.again ? keys.at(-1) : undefined) ?? `p${step.project}-${index}`
        world.keys.set(step.project, [...keys, r2Key])
        const lease = world.lease(step.project, step.lease)
        return yield* projects.startUpload({ lease, r2Key, urlExpiresInMs: 15 * minute })
      }
      case "commitArchive":
        return yield* projects.commitArchive({
          lease: world.lease(step.project, step.lease),
          r2Key: world.keys.get(step.project)?.at(-1) ?? "none",
          r2Checksum: "a".repeat(64),
          size: index,
          machineDeleteAfterMs: step.minutes * minute
        })
      case "abortArchive":
        return yield* projects.abortArchive({
          projectId: projectId(step.project),
          by:
            step.lease === "takeover"
              ? { _tag: "Takeover" }
              : { _tag: "Holder", lease: world.lease(step.project, step.lease) },
          idleSeconds: step.idleMinutes === null ? null : step.idleMinutes * 60,
          backoffMs: step.backoffMinutes === null ? null : step.backoffMinutes * minute,
          error: step.error,
          minGeneration: step.minGeneration
        })
      case "beginRehost": {
        const machine = world.committed(step.project)
        const reason = `lost ${index}`
        const outcome = yield* projects.beginRehost({ ...begin(step.project), machine, reason, force: step.force })
        if (outcome._tag === "Begun") world.begun(step.project, outcome.project, outcome.machine)
        return outcome
      }
      case "failRehost":
        return yield* projects.failRehost({
          lease: world.lease(step.project, step.lease),
          error: `failed ${index}`,
          retryAfterMs: 2 * minute,
          dataUnavailable: step.lost
        })
      case "raiseGeneration": {
        const lease = world.lease(step.project, step.lease)
        const raised = yield* projects.raiseGeneration(lease, lease.generation + step.by)
        if (raised !== null) world.leases.set(step.project, [...(world.leases.get(step.project) ?? []), raised])
        return raised
      }
      case "beginDelete": {
        const outcome = yield* projects.beginDelete({ ...begin(step.project), force: step.force })
        if (outcome._tag === "Begun") world.begun(step.project, outcome.project, null)
        return outcome
      }
      case "commitDelete": {
        const lease = world.lease(step.project, step.lease)
        return yield* projects.commitDelete({ lease, machineDeleteAfterMs: step.minutes * minute })
      }
      case "recover":
        return yield* projects.recover({ projectId: projectId(step.project), from: step.from })
      case "updateSettings":
        return yield* projects.updateSettings(projectId(step.project), {
          pinned: step.pinned,
          dormancyThresholdSeconds: step.thresholdMinutes === null ? null : step.thresholdMinutes * 60
        })
      case "touch":
        return yield* projects.touch([projectId(step.project), projectId(step.project + 1)])
      case "record":
        return yield* projects.record({
          projectId: projectId(step.project),
          kind: "object_missing",
          detail: { index, found: false }
        })
      case "insertPool":
        return yield* machines.insertPool(newMachine(step.region), world.maxMachines)
      case "addReady": {
        const machine = newMachine(step.region)
        if (!(yield* machines.insertPool(machine, world.maxMachines))) return "full"
        yield* machines.recordVolume(machine.name, { ...volumeOf(machine.name), region: step.region })
        yield* machines.recordMachine(machine.name, machineOf(machine.name))
        return yield* machines.markReady(machine.name)
      }
      case "insertFor": {
        const machine = newMachine("ams")
        const inserted = yield* machines.insertFor(world.lease(step.project, step.lease), machine, world.maxMachines)
        if (inserted !== "inserted") return inserted
        world.newest.set(step.project, machine.name)
        if (!step.recorded) return inserted
        yield* machines.recordVolume(machine.name, volumeOf(machine.name))
        return yield* machines.recordMachine(machine.name, machineOf(machine.name))
      }
      case "claimNext": {
        const row = yield* machines.claimNext({
          lease: world.lease(step.project, step.lease),
          discard: world.newest.get(step.project) ?? world.machine(step.machine),
          reason: `silent ${index}`,
          claim: { image, region: "ams" }
        })
        if (row !== null) world.newest.set(step.project, row.name)
        return row
      }
      case "recordVolume": {
        const name = world.machine(step.machine)
        return yield* machines.recordVolume(name, volumeOf(name, step.again ? "" : `-${index}`))
      }
      case "recordMachine": {
        const name = world.machine(step.machine)
        return yield* machines.recordMachine(name, machineOf(name, step.again ? "" : `-${index}`))
      }
      case "markReady":
        return yield* machines.markReady(world.machine(step.machine))
      case "clearMachine": {
        const lease = world.lease(step.project, step.lease)
        return yield* machines.clearMachine(lease, world.committed(step.project))
      }
      case "discard":
        return yield* machines.discard({
          name: world.machine(step.machine),
          from: step.any ? ["provisioning", "ready", "assigned"] : ["provisioning", "ready"],
          reason: `unwanted ${index}`
        })
      case "noteFailure":
        return yield* machines.noteFailure(world.machine(step.machine), `failed ${index}`, step.minutes * minute)
      case "recordGone":
        return yield* machines.recordGone(world.machine(step.machine), step.what)
      case "markGone":
        return yield* machines.markGone(world.machine(step.machine))
      case "countAbsent":
        return yield* machines.countAbsent(world.machines.filter((_, position) => position % step.everySo === 0))
      case "discardUnnamed":
        return yield* machines.discardUnnamed(many)
      case "discardAbandoned":
        return yield* machines.discardAbandoned(step.minutes * minute, many)
      case "observe": {
        return yield* machines.observe([
          {
            machineId: world.machineId(world.committed(step.project)) ?? "unknown",
            state: step.state,
            volumeId: step.moved ? `vol-moved-${index}` : null,
            privateIp: step.moved ? `fdaa::${index}` : null
          }
        ])
      }
      case "purge":
        return yield* machines.purge(step.minutes * minute, many)
      case "lookAtStrays": {
        const machineId = world.machineId(world.machine(step.machine))
        const ids = ["stray", ...(step.minutes > 30 ? ["sometimes"] : []), machineId ?? "none"]
        const seen = ids.map((id) => ({ id, name: id }))
        return (yield* machines.lookAtStrays("machine", seen, step.minutes * minute)).toSorted()
      }
      case "discardUploads":
        return yield* archives.discardAbandoned(many)
      case "archiveFailure":
        return yield* archives.noteFailure(world.archive(step.archive), `failed ${index}`, step.minutes * minute)
      case "archiveGone":
        return yield* archives.markGone(world.archive(step.archive))
      case "book": {
        const waitMs = yield* plane.book({
          bucket: `b${step.bucket}`,
          intervalMs: minute,
          burst: 3,
          reserve: step.reserve,
          maxWaitMs: step.maxMinutes * minute
        })
        return { waitMs }
      }
      case "queries": {
        const candidates = { idleMs: step.idleMinutes * minute, limit: many, after: null }
        const listed = yield* projects.list({ state: null, cursor: null, limit: many })
        return {
          counts: yield* projects.counts,
          listed: listed.projects.map((project) => project.projectId).toSorted(),
          running: (yield* projects.running(many)).map((project) => project.projectId).toSorted(),
          expired: (yield* projects.expiredLeases(many)).map((project) => project.projectId).toSorted(),
          idle: (yield* projects.idleCandidates(candidates)).toSorted(by((project) => project.projectId)),
          pool: (yield* machines.pool).map(({ name }) => name).toSorted(),
          bin: (yield* machines.bin(many)).map(({ name }) => name).toSorted(),
          binCounts: yield* machines.binCounts,
          archiveBin: (yield* archives.bin({ marginMs: step.marginMinutes * minute, limit: many }))
            .map(({ r2Key }) => r2Key)
            .toSorted()
        }
      }
    }
  })

export const everything = (names: ReadonlyArray<MachineName>): Effect.Effect<Seen, StoreError, Stores> =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const machines = yield* Machines
    const archives = yield* Archives
    const ids = Array.from({ length: historyProjects }, (_, project) => projectId(project))
    return {
      projects: yield* Effect.forEach(ids, (id) => projects.find(id), together),
      machines: yield* Effect.forEach(names, (name) => machines.find(name), together),
      archives: (yield* archives.living).toSorted(by(({ r2Key }) => r2Key))
    }
  })

/** Of each project, newest first. */
export const allEvents = Effect.flatMap(Projects, (projects) =>
  Effect.forEach(
    Array.from({ length: historyProjects }, (_, project) => projectId(project)),
    (id) => projects.events({ projectId: id, limit: many, before: null }),
    together
  )
)

export const runHistory = Effect.fnUntraced(function* <E = never, R = never>(
  history: History,
  afterEach: (index: number) => Effect.Effect<void, E, R> = () => Effect.void
) {
  const projects = yield* Projects
  const world = new World()
  const observations: Array<Observation> = []
  let start = 0
  for (const [index, step] of history.steps.entries()) {
    const result = yield* perform(step, index, world)
    if (index === 0) start = Option.getOrNull(yield* projects.find(projectId(0)))?.project.createdAt ?? 0
    const tell = normalize(start)
    world.seen = yield* everything(world.machines)
    observations.push({ index, step, result: tell(result), rows: tell(world.seen) })
    yield* afterEach(index)
  }
  return { observations, events: normalize(start)(yield* allEvents) }
})
