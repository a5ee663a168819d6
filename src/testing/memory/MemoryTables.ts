/** The tables of the in-memory database: maps with the indexes that the stores read by. Rows are immutable values. */
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { ProjectEvent } from "../../domain/Event.ts"
import type { MachineName, MachineRow } from "../../domain/Machine.ts"
import type { Project } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { type Deletions, noDeletions } from "../../domain/transitions/Ledger.ts"
import type { NewEvent, ProjectRows, Written } from "../../domain/transitions/Rows.ts"
import type { PlaneIdentity } from "../../services/db/Plane.ts"
import type { ProjectView } from "../../services/db/Projects.ts"

/** Newest kept for each project: a simulated month of one project stays readable, a loop can't fill the memory. */
const eventsKept = 1000

export interface Stray {
  readonly firstSeen: number
  readonly lastSeen: number
  readonly looks: number
}

const add = <K, V>(index: Map<K, Set<V>>, key: K, value: V) => {
  const values = index.get(key)
  if (values === undefined) index.set(key, new Set([value]))
  else values.add(value)
}

/** Told of each row as it is written, before anybody else can see it. */
export interface TableObserver {
  readonly project: (before: Project | undefined, after: Project, now: number) => void
  readonly machine: (before: MachineRow | undefined, after: MachineRow) => void
  readonly archive: (before: ArchiveRow | undefined, after: ArchiveRow) => void
  /** The rows of one transition are all written. */
  readonly written: (written: Written, now: number) => void
}

export class MemoryTables {
  observer: TableObserver | null = null
  readonly projects = new Map<ProjectId, Project>()
  readonly machines = new Map<MachineName, MachineRow>()
  readonly archives = new Map<string, ArchiveRow>()
  /** When the running operation of a project began or was taken over. */
  readonly begunAt = new Map<ProjectId, number>()
  /** Accepted creates by client, least recently accepted client first. */
  readonly accepted = new Map<string, ReadonlyArray<number>>()
  /** Creates by client and idempotency key, oldest first. */
  readonly idempotency = new Map<string, { readonly projectId: ProjectId; readonly at: number }>()
  readonly strays = { machine: new Map<string, Stray>(), volume: new Map<string, Stray>() }
  /** Theoretical arrival time of each bucket (GCRA). */
  readonly arrivals = new Map<string, number>()
  identity: PlaneIdentity | null = null

  readonly #uids = new Set<string>()
  readonly #deletions = new Map<MachineName, Deletions>()
  readonly #machinesOf = new Map<ProjectId, Set<MachineName>>()
  readonly #archivesOf = new Map<string, Set<string>>()
  readonly #events = new Map<ProjectId, Array<ProjectEvent>>()
  #lastEventId = 0

  hasUid(uid: string): boolean {
    return this.#uids.has(uid)
  }

  machinesOf(projectId: ProjectId): ReadonlyArray<MachineRow> {
    return this.#resolve(this.#machinesOf.get(projectId), this.machines)
  }

  archivesOf(uid: string): ReadonlyArray<ArchiveRow> {
    return this.#resolve(this.#archivesOf.get(uid), this.archives)
  }

  eventsOf(projectId: ProjectId): ReadonlyArray<ProjectEvent> {
    return this.#events.get(projectId) ?? []
  }

  deletionsOf(name: MachineName): Deletions {
    return this.#deletions.get(name) ?? noDeletions
  }

  rowsOf(project: Project): ProjectRows {
    return { project, machines: this.machinesOf(project.projectId), archives: this.archivesOf(project.uid) }
  }

  viewOf(projectId: ProjectId): ProjectView | null {
    const project = this.projects.get(projectId)
    if (project === undefined) return null
    return { project, machine: project.machine === null ? null : (this.machines.get(project.machine) ?? null) }
  }

  /** The project that a machine row was made or claimed for. */
  ownerOf(row: MachineRow): Project | null {
    return row.project === null ? null : (this.projects.get(row.project) ?? null)
  }

  write(written: Written, now: number): void {
    this.putProject(written.project, now)
    for (const row of written.machines) this.putMachine(row)
    for (const row of written.archives) this.putArchive(row)
    this.append(written.project.projectId, written.events, now)
    this.observer?.written(written, now)
  }

  putProject(project: Project, now: number): void {
    const before = this.projects.get(project.projectId)
    if (before?.operationId !== project.operationId) {
      if (project.operationId === null) this.begunAt.delete(project.projectId)
      else this.begunAt.set(project.projectId, now)
    }
    this.observer?.project(before, project, now)
    this.projects.set(project.projectId, project)
    this.#uids.add(project.uid)
  }

  putMachine(row: MachineRow, deletions?: Deletions): void {
    this.observer?.machine(this.machines.get(row.name), row)
    this.machines.set(row.name, row)
    if (deletions !== undefined) this.#deletions.set(row.name, deletions)
    if (row.project !== null) add(this.#machinesOf, row.project, row.name)
  }

  forgetMachine(row: MachineRow): void {
    this.machines.delete(row.name)
    this.#deletions.delete(row.name)
    if (row.project !== null) this.#machinesOf.get(row.project)?.delete(row.name)
  }

  putArchive(row: ArchiveRow): void {
    this.observer?.archive(this.archives.get(row.r2Key), row)
    this.archives.set(row.r2Key, row)
    add(this.#archivesOf, row.projectUid, row.r2Key)
  }

  forgetArchive(row: ArchiveRow): void {
    this.archives.delete(row.r2Key)
    this.#archivesOf.get(row.projectUid)?.delete(row.r2Key)
  }

  append(projectId: ProjectId, events: ReadonlyArray<NewEvent>, at: number): void {
    const kept = this.#events.get(projectId) ?? []
    for (const event of events) kept.push({ id: ++this.#lastEventId, projectId, at, ...event })
    if (kept.length > eventsKept) kept.splice(0, kept.length - eventsKept)
    this.#events.set(projectId, kept)
  }

  #resolve<K, Row>(keys: ReadonlySet<K> | undefined, rows: ReadonlyMap<K, Row>): ReadonlyArray<Row> {
    const found: Array<Row> = []
    for (const key of keys ?? []) {
      const row = rows.get(key)
      if (row !== undefined) found.push(row)
    }
    return found
  }
}
