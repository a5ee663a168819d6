/**
 * Strays: machines and volumes at Fly with this plane's prefix that stand in no row. They are discarded after two looks
 * an hour apart; a volume that may have held a project is reported, never deleted. An empty listing deletes nothing,
 * and neither does one that lost more than a few of the machines that the ledger knows.
 */
import * as Effect from "effect/Effect"
import { Margins } from "../../config/Margins.ts"
import { MachineName, volumeMayGo } from "../../domain/Machine.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { Identity } from "../Identity.ts"

/** Deletions of one pass: strays are rare, so many of them are a wrong listing or a wrong database. */
const deletionsPerPass = 5
export const reap = Effect.gen(function* () {
  const fly = yield* Fly
  const machines = yield* Machines
  const { machinePrefix } = yield* Identity
  const { strayAgeMs } = yield* Margins
  // The rows are read before and after the listings: a row written meanwhile is no stray, and neither is one just gone.
  const before = yield* machines.living
  const listed = (yield* fly.listMachines).filter((machine) => machine.name.startsWith(machinePrefix))
  const volumes = (yield* fly.listVolumes).filter((volume) => volume.name.startsWith(machinePrefix))
  const after = yield* machines.living
  const names = new Set([...before, ...after].map((row) => row.name as string))
  const ids = new Set([...before, ...after].flatMap((row) => [row.machineId, row.volumeId]))
  const known = after.filter((row) => row.machineId !== null)
  const there = new Set<string | null>(listed.map(({ id }) => id))
  const seen = known.filter((row) => there.has(row.machineId))
  const partial = known.length > 0 && seen.length < known.length / 2
  if (listed.length === 0 || partial) {
    if (partial) yield* Effect.logWarning("reap: the listing misses most known machines, nothing is deleted")
    return { machines: 0, volumes: 0, reported: 0 }
  }
  const stray = <A extends { readonly id: string; readonly name: string; readonly state: string }>(
    all: ReadonlyArray<A>
  ) => all.filter((one) => one.state !== "destroyed" && !names.has(one.name) && !ids.has(one.id))
  const strayMachines = stray(listed)
  const strayVolumes = stray(volumes)
  const oldMachines = new Set(yield* machines.lookAtStrays("machine", strayMachines, strayAgeMs))
  const oldVolumes = new Set(yield* machines.lookAtStrays("volume", strayVolumes, strayAgeMs))
  const doomed = strayMachines.filter((machine) => oldMachines.has(machine.id)).slice(0, deletionsPerPass)
  for (const machine of doomed) {
    yield* Effect.logWarning("reap: deleting a machine that stands in no row", { id: machine.id, name: machine.name })
    yield* fly.deleteMachine(machine.id)
  }
  let deleted = 0
  let reported = 0
  for (const volume of strayVolumes.filter((one) => oldVolumes.has(one.id))) {
    // Made late by a create that nobody waited for any more: its row is gone, and says that it never served.
    const row = yield* machines.find(MachineName.make(volume.name))
    if (row !== null && volumeMayGo(row) && volume.attachedMachineId === null && deleted < deletionsPerPass) {
      yield* fly.deleteVolume(volume.id)
      deleted += 1
      continue
    }
    reported += 1
    yield* Effect.logWarning("reap: a volume stands in no row and may hold data; it is yours to delete", {
      id: volume.id,
      name: volume.name
    })
  }
  return { machines: doomed.length, volumes: deleted, reported }
}).pipe(Effect.withSpan("reap"))
