/**
 * The invariants that hold at every moment, looked at where rows are written and where Fly changes: before anybody else
 * can see it.
 */
import * as Effect from "effect/Effect"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import type { Operation, Project } from "../../domain/Project.ts"
import type { NewEvent, Written } from "../../domain/transitions/Rows.ts"
import type { FlyState, Volume } from "../../local/fly/model/FlyState.ts"
import { filed, sha256 } from "../machine/FakeServer.ts"
import * as LedgerWatch from "./LedgerWatch.ts"
import type { Known, Witness } from "./Witness.ts"
import type { World } from "./World.ts"

const minute = 60_000

/** The steps' limits added up, with the lease and a takeover behind them. */
const operationLimitMs: Readonly<Record<Exclude<Operation, "none">, number>> = {
  creating: 20 * minute,
  waking: 20 * minute,
  archiving: 30 * minute,
  rehosting: 40 * minute,
  deleting: 10 * minute
}

/** Deletions of machines and volumes of one pass, and the passes of one minute. */
const deletionsPerMinute = 200

export const make = (world: World, witness: Witness) => {
  const { database, journal, plan, time } = world
  const { tables } = database
  const now = () => time.clock.currentTimeMillisUnsafe()
  const running = new Map<string, { readonly operation: Exclude<Operation, "none">; readonly since: number }>()
  const deletions: Array<number> = []
  let seen: FlyState | null = null
  const ledger = LedgerWatch.make(world)

  const currentArchive = (known: Known): ArchiveRow | null =>
    tables.archivesOf(known.uid).find((row) => row.status === "current") ?? null

  /** The documents of the archive that a restore would use; null where there is none, or it is not what the row says. */
  const archived = (known: Known): ReadonlyMap<string, string> | null => {
    const row = currentArchive(known)
    const body = row === null ? undefined : world.r2.peek(row.r2Key)
    if (row === null || body === undefined || sha256(body) !== row.r2Checksum) return null
    return filed(body)
  }

  const atRestInArchive = (project: Project) => {
    const known = witness.byUid.get(project.uid)
    if (known === undefined || known.deletion !== "none" || known.servedBy === null) return
    const copy = archived(known)
    if (copy === null) {
      return journal.violate("I3", `dormant without a readable archive: ${currentArchive(known)?.r2Key}`, known.id)
    }
    const missing = witness.missingFrom(known, copy)
    if (missing !== null) journal.violate("I3", `the archive lacks what was acknowledged: ${missing}`, known.id)
  }

  const archivedInUse = (project: Project) => {
    const known = witness.byUid.get(project.uid)
    if (known === undefined) return
    // A server forgets with its process when it was used; the plane knows of what passed the router.
    if (known.servedBy !== null && seen?.machines[known.servedBy]?.run !== known.usedBoot) return
    const { thresholdMs } = world.config.dormancy
    const idleMs = now() - known.usedAt
    const slackMs = 1_000
    if (idleMs + slackMs < thresholdMs && now() - known.forcedAt > operationLimitMs.archiving) {
      journal.violate("I10", `archived ${Math.round(idleMs / 1_000)} s after its last use`, known.id)
    }
  }

  const volumeOf = (known: Known): string | null => tables.viewOf(known.id)?.machine?.volumeId ?? null

  /** What an operator's decision leaves, and that there was something to decide. */
  const decided = (known: Known, project: Project, { detail, kind }: NewEvent) => {
    if (kind === "data_unavailable") {
      known.unavailable = true
      const row = [...tables.machines.values()].find(({ name }) => name === project.machine)
      const volume = row?.volumeId == null ? undefined : seen?.volumes[row.volumeId]
      if (volume !== undefined && volume.deletedAt === null && volumeHolds(volume.id, known)) {
        journal.violate("I2", `given up as unavailable, and its volume ${volume.id} is there`, known.id)
      }
    }
    if (kind === "recovered") witness.reset(known, (detail["from"] === "archive" ? archived(known) : null) ?? new Map())
    if (kind === "rehosted" && known.unavailable) {
      const volumeId = volumeOf(known)
      const held = volumeId === null ? null : Effect.runSync(world.machines.volume(volumeId))
      witness.reset(known, held?.documents ?? new Map())
    }
  }

  const volumeHolds = (volumeId: string, known: Known): boolean =>
    Effect.runSync(world.machines.volume(volumeId))?.project?.uid === known.uid

  tables.observer = {
    project: (before, after) => {
      if (before !== undefined && after.generation < before.generation) {
        journal.violate("I1", `the generation fell from ${before.generation} to ${after.generation}`, after.projectId)
      }
      if (before?.operationId !== after.operationId) {
        if (after.operation === "none") running.delete(after.projectId)
        else running.set(after.projectId, { operation: after.operation, since: now() })
      }
    },
    machine: (before: MachineRow | undefined, after: MachineRow) => {
      if (before === undefined || after === before) return
      ledger.changed(before, after)
      if (before.project !== null && after.project !== before.project) {
        journal.violate(
          "I8",
          `${after.name} of ${before.project} goes to ${after.project ?? "the pool"}`,
          before.project
        )
      }
      if (after.status === "ready" && before.status !== "ready" && before.status !== "provisioning") {
        journal.violate("I8", `${after.name} goes back to the pool from ${before.status}`, before.project)
      }
    },
    archive: () => {},
    written: ({ events, project }: Written) => {
      const known = witness.byUid.get(project.uid)
      for (const event of events) {
        if (known !== undefined) decided(known, project, event)
        journal.note(`row ${project.projectId} ${event.kind} g${event.generation} ${project.state}`)
        journal.count(`event ${event.kind}`)
        if (event.kind === "archived") {
          atRestInArchive(project)
          archivedInUse(project)
        }
      }
    }
  }

  /** A volume goes: what it held and was acknowledged has to be elsewhere. */
  const goes = (volume: Volume): Effect.Effect<void> =>
    Effect.gen(function* () {
      const held = yield* world.machines.volume(volume.id)
      if (held === null || held.project === null || !held.ready) return
      const known = witness.byUid.get(held.project.uid)
      if (known === undefined || known.deletion !== "none" || known.servedBy === null) return
      // A try to go on from a snapshot that came to nothing: the snapshot is still there.
      if (known.unavailable && volumeOf(known) !== volume.id) return
      // What isn't whole itself is no loss; whoever holds the rest, the next read tells.
      if (witness.missingFrom(known, held.documents) !== null) return
      if (witness.missingFrom(known, new Map()) === null) return
      const inArchive = archived(known)
      if (inArchive !== null && witness.missingFrom(known, inArchive) === null) return
      const row = tables.viewOf(known.id)?.machine
      const successor = row?.volumeId == null || row.volumeId === volume.id ? null : row.volumeId
      const served = successor === null ? null : yield* world.machines.volume(successor)
      if (served !== null && witness.missingFrom(known, served.documents) === null) return
      journal.violate("I4", `volume ${volume.id} goes and holds the only whole copy`, known.id)
    })

  /** Machines whose deletion was sent when they might go, and that Fly carries out when it likes. */
  const goesLate = new Set<string>()
  world.onDelayed = ({ operation, target }) => {
    if (operation === "deleteMachine" && target !== undefined && mayGo(target) === null) goesLate.add(target)
  }

  /** A machine that serves a project, or may be claimed by one, is not the bin's. */
  const mayGo = (machineId: string): string | null => {
    if (goesLate.has(machineId)) return null
    for (const row of tables.machines.values()) {
      if (row.machineId !== machineId) continue
      if (row.status === "discarded" || row.status === "gone") return null
      const owner = tables.ownerOf(row)
      if (owner?.operation === "rehosting" && owner.machine === row.name) return null
      return `${row.name} is ${row.status}`
    }
    return null
  }

  const capped = (what: string) => {
    deletions.push(now())
    while ((deletions[0] ?? 0) < now() - minute) deletions.shift()
    if (deletions.length > deletionsPerMinute) journal.violate("I11", `${deletions.length} deletions a minute: ${what}`)
  }

  world.onFly = (state) =>
    Effect.gen(function* () {
      const before = seen
      seen = state
      ledger.seen(state)
      if (before === null || world.byFault) return
      if (before.volumes !== state.volumes) {
        for (const volume of Object.values(before.volumes)) {
          if (volume.deletedAt !== null) continue
          const after = state.volumes[volume.id]
          if (after !== undefined && after.deletedAt === null) continue
          capped(volume.id)
          yield* goes(volume)
        }
      }
      if (before.machines !== state.machines) {
        for (const machine of Object.values(before.machines)) {
          const after = state.machines[machine.id]
          if (after === machine || machine.state === "destroying" || machine.state === "destroyed") continue
          if (after !== undefined && after.state !== "destroying" && after.state !== "destroyed") continue
          capped(machine.id)
          const reason = mayGo(machine.id)
          if (reason !== null) journal.violate("I11", `machine ${machine.id} is deleted while ${reason}`)
        }
      }
    })

  /** Looked at every minute: operations that take too long. */
  const overdue = Effect.sync(() => {
    const factor = plan.intervals
    for (const [projectId, { operation, since }] of running) {
      const limit = operationLimitMs[operation] + 2 * factor * 30_000
      if (now() - since > limit) {
        journal.violate("I6", `${operation} runs for ${Math.round((now() - since) / 1_000)} s`, projectId)
      }
    }
    for (const known of witness.projects.values()) {
      if (known.servedBy === null || known.deletion !== "none") continue
      const project = tables.projects.get(known.id)
      if (project?.state !== "dormant" || known.recovered) continue
      const row = currentArchive(known)
      if (row === null || world.r2.peek(row.r2Key) === undefined) {
        journal.violate("I3", `dormant, and its archive is gone: ${row?.r2Key}`, known.id)
      }
    }
  })

  /** Milliseconds since the epoch of the running operation; 0: none runs. */
  const beganAt = (projectId: string): number => running.get(projectId)?.since ?? 0

  /** Which boot of a machine runs; 0: it is not known. */
  const bootOf = (machineId: string): number => seen?.machines[machineId]?.run ?? 0

  return { overdue, archived, currentArchive, beganAt, bootOf }
}

export type Watch = ReturnType<typeof make>
