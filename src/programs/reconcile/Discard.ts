/**
 * Emptying the bin. Machine deleted by force → confirmed gone → every volume of the row's name deleted → confirmed →
 * the row is `gone`. A volume that served a project goes only once what it held is safe elsewhere or unwanted
 * (`volumeMayGo`); until then the row stays and says so. Archives likewise. Capped per pass: a wrong row can't take
 * everything with it.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Margins } from "../../config/Margins.ts"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { MachineRow } from "../../domain/Machine.ts"
import { volumeMayGo } from "../../domain/Machine.ts"
import { Archives } from "../../services/db/Archives.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Projects } from "../../services/db/Projects.ts"
import type { FlyMachine, FlyVolume } from "../../services/fly/Fly.ts"
import { Fly, softDeleted } from "../../services/fly/Fly.ts"
import { Conflict, FlyError, Transient } from "../../services/fly/FlyError.ts"
import { R2 } from "../../services/r2/R2.ts"
import { brief } from "../lifecycle/Steps.ts"

/** What is looked at and what is deleted in one pass; the next comes in 30 s, or at once when poked. */
const rowsPerPass = 500
const machinesPerPass = 50
const archivesPerPass = 100
const concurrency = 4
const destroyedWithinMs = 60_000
const keptLookAgainMs = 24 * 60 * 60_000

const retryAfterMs = (attempts: number): number => Math.min(10_000 * 2 ** Math.min(attempts, 20), 60 * 60_000)

interface Listing {
  readonly machines: ReadonlyArray<FlyMachine>
  readonly volumes: ReadonlyArray<FlyVolume>
}

const destroyMachine = (machineId: string) =>
  Effect.gen(function* () {
    const fly = yield* Fly
    yield* fly.deleteMachine(machineId)
    yield* fly.waitForState(machineId, "destroyed", destroyedWithinMs)
  })

/**
 * One that is gone without this call went by an earlier one, or because Fly moved it: then another of its name is there
 * instead, and only a listing of after that shows it. An empty one proves nothing.
 */
const wentBefore = (volumeId: string, { volumes }: Listing) => {
  const since = volumes.some(({ id }) => id === volumeId)
  if (!since && volumes.length > 0) return Effect.void
  const detail = `${volumeId} is gone, and ${since ? "was listed before" : "the listing shows no volume at all"}`
  return Effect.fail(new FlyError({ operation: "deleteVolume", reason: new Transient({ detail }) }))
}

/** 412 while the machine's claim lingers: the row's next attempt is the retry. */
const destroyVolume = (listing: Listing) => (volumeId: string) =>
  Effect.gen(function* () {
    const fly = yield* Fly
    const volume = yield* fly
      .getVolume(volumeId)
      .pipe(Effect.catchReason("FlyError", "NotFound", () => Effect.succeed(null)))
    if (volume === null || softDeleted.has(volume.state)) return yield* wentBefore(volumeId, listing)
    if (volume.attachedMachineId !== null) {
      return yield* new FlyError({
        operation: "deleteVolume",
        reason: new Conflict({ detail: `still bound to ${volume.attachedMachineId}`, existingId: null })
      })
    }
    yield* fly.deleteVolume(volumeId)
  })

/** A fork is filled from its source for a while, and until then the source is the only whole copy. */
const filling = new Set(["hydrating", "restoring", "recovering"])
const notFilledFrom = (row: MachineRow) =>
  Effect.gen(function* () {
    const view = row.project === null ? null : Option.getOrNull(yield* (yield* Projects).find(row.project))
    const successor = view?.machine?.volumeId ?? null
    if (!row.served || successor === null) return
    const { state } = yield* (yield* Fly).getVolume(successor)
    if (!filling.has(state)) return
    const detail = `the project's new volume ${successor} is still ${state}`
    return yield* new FlyError({ operation: "deleteVolume", reason: new Transient({ detail }) })
  })

const emptyRow = (listing: Listing) => (row: MachineRow) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    // By name as well as by id: a create whose answer was lost left a machine that the row could not note.
    const named = listing.machines.filter((machine) => machine.name === row.name && machine.state !== "destroyed")
    const ids = new Set([...(row.machineId === null ? [] : [row.machineId]), ...named.map((machine) => machine.id)])
    for (const id of ids) yield* destroyMachine(id)
    if (row.machineId !== null) yield* machines.recordGone(row.name, "machine")
    if (!volumeMayGo(row)) {
      return yield* machines.noteFailure(
        row.name,
        "its volume held a project whose data is not confirmed elsewhere: kept",
        keptLookAgainMs
      )
    }
    yield* notFilledFrom(row)
    // A migration changes a volume's id, a repeated create makes two of one name: all of them are this row's.
    const volumes = new Set([
      ...(row.volumeId === null ? [] : [row.volumeId]),
      ...listing.volumes.filter((volume) => volume.name === row.name).map((volume) => volume.id)
    ])
    yield* Effect.forEach(volumes, destroyVolume(listing), { discard: true })
    if (row.volumeId !== null) yield* machines.recordGone(row.name, "volume")
    yield* machines.markGone(row.name, (yield* Margins).absentMs)
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.gen(function* () {
        yield* Effect.logWarning("not discarded yet", { machine: row.name, error: brief(cause) })
        yield* (yield* Machines).noteFailure(row.name, brief(cause), retryAfterMs(row.attempts))
      })
    )
  )

const emptyArchive = (row: ArchiveRow) =>
  Effect.gen(function* () {
    const r2 = yield* R2
    const archives = yield* Archives
    yield* r2.delete(row.r2Key)
    if (Option.isNone(yield* r2.head(row.r2Key))) yield* archives.markGone(row.r2Key)
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.gen(function* () {
        yield* Effect.logWarning("archive not deleted yet", { r2Key: row.r2Key, error: brief(cause) })
        yield* (yield* Archives).noteFailure(row.r2Key, brief(cause), retryAfterMs(row.attempts))
      })
    )
  )

/** Rows that name nothing at Fly, and whose name a listing does not show: all counted at once, as of one listing. */
const settleAbsent = Effect.fnUntraced(function* (rows: ReadonlyArray<MachineRow>, listing: Listing) {
  const machines = yield* Machines
  const all = [...listing.machines.filter(({ state }) => state !== "destroyed"), ...listing.volumes]
  const listed = new Set(all.map(({ name }) => name))
  const absent = rows.filter(
    (row) => row.machineId === null && row.volumeId === null && volumeMayGo(row) && !listed.has(row.name)
  )
  // Every machine has a volume: where one of the listings is empty and the other is not, one of them is wrong.
  const plausible = listing.machines.length > 0 && listing.volumes.length > 0
  const seenAgain = rows.some((row) => row.absentLooks > 0 && !absent.includes(row))
  if (plausible && (absent.length > 0 || seenAgain)) {
    const { absentMs } = yield* Margins
    yield* machines.countAbsent(absent.map(({ name }) => name))
    yield* Effect.forEach(absent, ({ name }) => machines.markGone(name, absentMs), { concurrency, discard: true })
  }
  return rows.filter((row) => !absent.includes(row))
})

export const discard = Effect.gen(function* () {
  const machines = yield* Machines
  const archives = yield* Archives
  const fly = yield* Fly
  const rows = yield* machines.bin(rowsPerPass)
  if (rows.length > 0) {
    const listing = { machines: yield* fly.listMachines, volumes: yield* fly.listVolumes }
    const present = yield* settleAbsent(rows, listing)
    yield* Effect.forEach(present.slice(0, machinesPerPass), emptyRow(listing), { concurrency, discard: true })
  }
  const objects = yield* archives.bin({ marginMs: (yield* Margins).urlMarginMs, limit: archivesPerPass })
  yield* Effect.forEach(objects, emptyArchive, { concurrency, discard: true })
  return { machines: rows.length, archives: objects.length }
}).pipe(Effect.withSpan("discard"))
