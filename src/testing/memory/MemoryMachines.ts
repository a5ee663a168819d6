/** `Machines` over the shared in-memory database: the ledger's transitions, each in one atomic body. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type MachineName, type MachineRow, volumeMayGo } from "../../domain/Machine.ts"
import type { Project } from "../../domain/Project.ts"
import * as Ledger from "../../domain/transitions/Ledger.ts"
import { observe, type Observed, type Seen } from "../../domain/transitions/Observe.ts"
import { discarded, reached } from "../../domain/transitions/Rows.ts"
import { claimed, oldestReady } from "../../domain/transitions/Wake.ts"
import { Machines } from "../../services/db/Machines.ts"
import { MemoryDatabase } from "./MemoryDatabase.ts"
import { lookAtStrays } from "./Strays.ts"
import { runner } from "./StoreFaults.ts"

export const layerMachines = Layer.effect(
  Machines,
  Effect.gen(function* () {
    const database = yield* MemoryDatabase
    const { tables } = database
    const run = yield* runner(database)

    const rows = () => [...tables.machines.values()]
    const living = () => rows().filter((row) => row.status !== "gone")
    const select = (matches: (row: MachineRow) => boolean) => rows().filter(matches).toSorted(Ledger.oldestFirst)

    /** Writes what the transition makes of the row; null where there is no row, or it refuses. */
    const transit = (
      name: MachineName,
      transition: (row: MachineRow, owner: Project | null) => MachineRow | null
    ): MachineRow | null => {
      const row = tables.machines.get(name)
      const after = row === undefined ? null : transition(row, tables.ownerOf(row))
      if (after !== null) tables.putMachine(after)
      return after
    }
    const discardAll = (found: ReadonlyArray<MachineRow>, limit: number, now: number): number => {
      const some = found.slice(0, limit)
      for (const row of some) tables.putMachine(discarded(row, now))
      return some.length
    }
    const look = (seen: Seen, row: MachineRow, now: number): Observed | null => {
      const observed = observe(row, tables.ownerOf(row), seen, now)
      if (observed === null) return null
      tables.putMachine(observed.machine)
      if (observed.project !== null) {
        database.apply({ project: observed.project, machines: [], archives: [], events: observed.events }, now)
      }
      return observed
    }

    return Machines.of({
      insertPool: (machine, maxMachines) =>
        run("insertPool", (now) => {
          const before = tables.machines.get(machine.name)
          if (before !== undefined) return before.status === "provisioning" && before.project === null
          if (living().length >= maxMachines) return false
          tables.putMachine(Ledger.provisioning(machine, null, now))
          return true
        }),
      insertFor: (lease, machine, maxMachines) =>
        run("insertFor", (now) => {
          const project = tables.projects.get(lease.projectId)
          if (project === undefined || !Ledger.mayProvision(project, lease)) return "lost"
          const before = tables.machines.get(machine.name)
          if (before !== undefined) {
            return before.project === lease.projectId && before.generation === lease.generation ? "inserted" : "lost"
          }
          if (living().length >= maxMachines) return "full"
          tables.putMachine(Ledger.provisioning(machine, lease, now))
          return "inserted"
        }),
      claimNext: ({ claim, discard, lease, reason }) =>
        run("claimNext", (now) => {
          const project = tables.projects.get(lease.projectId)
          if (project === undefined || !Ledger.mayProvision(project, lease)) return null
          transit(discard, (row) =>
            Ledger.isHeldBy(row, project) ? { ...discarded(row, now), lastError: reason } : null
          )
          const ready = oldestReady(tables.machines.values(), claim)
          return ready === null ? null : transit(ready.name, (row) => claimed(row, project, now))
        }),
      recordVolume: (name, volume) =>
        run("recordVolume", (now) => transit(name, (row, owner) => Ledger.recordVolume(row, owner, volume, now))),
      recordMachine: (name, machine) =>
        run("recordMachine", (now) => transit(name, (row, owner) => Ledger.recordMachine(row, owner, machine, now))),
      markReady: (name) => run("markReady", (now) => transit(name, (row) => Ledger.markReady(row, now)) !== null),
      clearMachine: (lease, name) =>
        run("clearMachine", (now) => {
          const cleared = transit(name, (row, owner) =>
            owner === null ? null : Ledger.clearMachine(row, owner, lease, now)
          )
          if (cleared !== null) database.notify(lease.projectId)
          return cleared !== null
        }),
      discard: (input) =>
        run("discard", (now) => transit(input.name, (row, owner) => Ledger.discard(row, owner, input, now)) !== null),

      find: (name) => run("findMachine", () => tables.machines.get(name) ?? null),
      pool: run("pool", () =>
        select((row) => row.status === "ready" || (row.status === "provisioning" && row.project === null))
      ),
      bin: (limit) =>
        run("bin", (now) =>
          select((row) => row.status === "discarded" && reached(row.nextAttemptAt, now))
            .toSorted(Ledger.longestWaiting)
            .slice(0, limit)
        ),
      binCounts: run("binCounts", () => {
        const bin = rows().filter((row) => row.status === "discarded")
        return {
          discarded: bin.length,
          kept: bin.filter((row) => !volumeMayGo(row)).length,
          failing: bin.filter((row) => row.attempts > 0).length
        }
      }),
      living: run("living", () => select((row) => row.status !== "gone")),
      ofProject: (projectId) => run("ofProject", () => tables.machinesOf(projectId).toSorted(Ledger.oldestFirst)),

      noteFailure: (name, error, retryAfterMs) =>
        run("noteFailure", (now) => {
          transit(name, (row) =>
            row.status === "gone"
              ? null
              : { ...row, attempts: row.attempts + 1, nextAttemptAt: now + retryAfterMs, lastError: error }
          )
        }),
      recordGone: (name, what) =>
        run("recordGone", () => {
          const row = tables.machines.get(name)
          const after = row === undefined ? null : Ledger.recordGone(row, tables.deletionsOf(name), what)
          if (after !== null) tables.putMachine(after.row, after.deletions)
        }),
      markGone: (name, absentMs) =>
        run("markGone", (now) => {
          const gone = transit(name, (row) =>
            Ledger.mayBeGone(row, tables.deletionsOf(name), now, absentMs)
              ? { ...row, status: "gone", updatedAt: now }
              : null
          )
          return gone !== null
        }),
      countAbsent: (names) =>
        run("countAbsent", () => {
          const absent = new Set(names)
          for (const row of living()) {
            const absentLooks = absent.has(row.name) ? row.absentLooks + 1 : 0
            if (absentLooks !== row.absentLooks) tables.putMachine({ ...row, absentLooks })
          }
        }),
      discardUnnamed: (limit) =>
        run("discardUnnamed", (now) =>
          discardAll(
            select((row) => Ledger.isUnnamed(row, tables.ownerOf(row))),
            limit,
            now
          )
        ),
      discardAbandoned: (olderThanMs, limit) =>
        run("discardAbandoned", (now) =>
          discardAll(
            select((row) => Ledger.isAbandoned(row, tables.ownerOf(row), olderThanMs, now)),
            limit,
            now
          )
        ),
      observe: (observations) =>
        run("observe", (now) => {
          const rowOf = new Map(living().map((row) => [row.machineId, row]))
          const all = observations.flatMap((seen) => {
            const row = rowOf.get(seen.machineId)
            const observed = row === undefined ? null : look(seen, row, now)
            return observed === null ? [] : [observed]
          })
          const resumed = all.flatMap(({ project, events }) =>
            project !== null && events.some(({ kind }) => kind === "resumed") ? [project.projectId] : []
          )
          return { changed: all.length, resumed }
        }),
      purge: (olderThanMs, limit) =>
        run("purge", (now) => {
          const old = select((row) => row.status === "gone" && reached(row.updatedAt + olderThanMs, now)).slice(
            0,
            limit
          )
          for (const row of old) tables.forgetMachine(row)
          return old.length
        }),
      lookAtStrays: (kind, seen, minAgeMs) =>
        run("lookAtStrays", (now) => {
          const named = new Set(living().map((row) => (kind === "machine" ? row.machineId : row.volumeId)))
          const ids = seen.map(({ id }) => id).filter((id) => !named.has(id))
          return lookAtStrays(tables.strays[kind], ids, minAgeMs, now)
        })
    })
  })
)
