/**
 * At the end, when faults have ended: within two hours nothing of before is under way, Fly and the bucket hold what the
 * ledgers say, the pool is full, and every project answers with all that was acknowledged. Once nobody has used anything
 * for long enough, every project is dormant and there is nothing beside the ledgers at all.
 */
import * as Effect from "effect/Effect"
import { type MachineRow, volumeMayGo } from "../../domain/Machine.ts"
import type { Clients } from "./Clients.ts"
import type { Watch } from "./Watch.ts"
import type { Witness } from "./Witness.ts"
import type { World } from "./World.ts"

const minute = 60_000
const hour = 60 * minute

export interface RestInput {
  readonly world: World
  readonly witness: Witness
  readonly watch: Watch
  readonly clients: Clients
}

const idsOf = (all: ReadonlyArray<string | null>) => all.filter((id) => id !== null).toSorted()

const same = (a: ReadonlyArray<string | null>, b: ReadonlyArray<string | null>): string | null => {
  const [left, right] = [idsOf(a), idsOf(b)]
  const only = (these: ReadonlyArray<string>, those: ReadonlyArray<string>) =>
    these.filter((id) => !those.includes(id)).join(" ")
  const [here, there] = [only(left, right), only(right, left)]
  return here === "" && there === "" ? null : `there: ${here || "nothing"}; noted alone: ${there || "nothing"}`
}

/** An object whose time has come goes a moment before its row: the row has a minute. */
const bucketAtRest = ({ world }: RestInput, since: number) =>
  Effect.gen(function* () {
    const { database, journal, r2 } = world
    const rows = [...database.tables.archives.values()]
    const moving = new Set(rows.filter((it) => it.createdAt > since).map((it) => it.r2Key))
    const objects = (yield* r2.objects).keys()
    const stored = new Set([...objects].filter((key) => !moving.has(key)))
    const missing = rows.filter((it) => !moving.has(it.r2Key) && !stored.has(it.r2Key))
    const emptied = missing.filter((it) => it.status === "discarded").map((it) => it.r2Key)
    const recorded = rows.map((it) => it.r2Key).filter((key) => !moving.has(key) && !emptied.includes(key))
    const strays = same([...stored], recorded)
    if (strays !== null) journal.violate("I7", `the bucket is not the archive ledger: ${strays}`)
    if (emptied.length === 0) return
    yield* Effect.sleep(minute)
    for (const key of emptied.filter((it) => database.tables.archives.has(it))) {
      journal.violate("I7", `the archive ledger still has ${key}, whose object is gone`)
    }
  })

/** I6, I7 and I9, of this moment. What began after `since`, in milliseconds since the epoch, may still be under way. */
const atRest = (input: RestInput, since: number) =>
  Effect.gen(function* () {
    const { watch, world } = input
    const { config, database, fly, journal } = world
    const { tables } = database
    for (const project of tables.projects.values()) {
      if (project.operation === "none" || watch.beganAt(project.projectId) > since) continue
      journal.violate("I6", `${project.operation} still runs two hours after the last fault`, project.projectId)
    }
    const all = [...tables.machines.values()].filter((row) => row.status !== "gone")
    // What was lost with its data keeps its row, should the volume ever return, whether or not an operator decided yet.
    const isKept = (row: MachineRow) =>
      tables.ownerOf(row)?.dataUnavailable === true ||
      (row.status === "discarded" && !volumeMayGo(row)) ||
      ((row.status === "discarded" || row.status === "provisioning") && row.updatedAt > since)
    const rows = all.filter((row) => !isKept(row))
    for (const row of rows) {
      if (row.status === "ready") continue
      const owner = tables.ownerOf(row)
      if (row.status === "assigned" && (owner?.machine === row.name || row.updatedAt > since)) continue
      journal.violate("I7", `${row.name} is ${row.status} at rest: ${row.lastError ?? "no error"}`, row.project)
    }
    const state = yield* fly.state
    const kept = new Set(all.filter(isKept).flatMap((row) => [row.machineId, row.volumeId]))
    const machines = Object.values(state.machines).filter((it) => it.state !== "destroyed" && !kept.has(it.id))
    const volumes = Object.values(state.volumes).filter((it) => it.deletedAt === null && !kept.has(it.id))
    const ids = (all: ReadonlyArray<{ readonly id: string }>) => all.map(({ id }) => id)
    const strayMachines = same(
      ids(machines),
      rows.map((row) => row.machineId)
    )
    if (strayMachines !== null) journal.violate("I7", `Fly's machines are not the ledger's: ${strayMachines}`)
    const strayVolumes = same(
      ids(volumes),
      rows.map((row) => row.volumeId)
    )
    if (strayVolumes !== null) journal.violate("I7", `Fly's volumes are not the ledger's: ${strayVolumes}`)
    const ready = rows.filter((row) => row.status === "ready").length
    const wanted = config.pool.size * config.fly.regions.length
    if (ready !== wanted) journal.violate("I9", `the pool has ${ready} machines of ${wanted}`)
    yield* bucketAtRest(input, since)
  })

export const check = (input: RestInput) =>
  Effect.gen(function* () {
    const { clients, watch, witness, world } = input
    const { config, database, journal, time } = world
    const faultsEndedAt = time.clock.currentTimeMillisUnsafe()
    yield* Effect.sleep(2 * hour)
    yield* watch.overdue
    yield* atRest(input, faultsEndedAt)
    for (const known of witness.projects.values()) {
      if (known.deletion !== "none") continue
      const project = database.tables.projects.get(known.id)
      if (project?.dataUnavailable === true) continue
      for (const document of known.documents.keys()) {
        if (!(yield* clients.read(known, document, 20))) {
          journal.violate("I2", `${known.id} does not answer two hours after the last fault`, known.id)
        }
      }
    }
    const quietMs = config.dormancy.thresholdMs + 2 * config.dormancy.sweepIntervalMs
    yield* Effect.sleep(quietMs)
    for (const known of witness.projects.values()) {
      const project = database.tables.projects.get(known.id)
      if (known.deletion !== "none" || project === undefined || project.dataUnavailable) continue
      if (project.state !== "dormant") {
        journal.violate("I10", `not archived after ${Math.round(quietMs / 1_000)} s without use`, known.id)
      }
    }
    yield* Effect.sleep(2 * hour)
    yield* atRest(input, Infinity)
  })
