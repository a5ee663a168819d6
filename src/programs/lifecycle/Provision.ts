/**
 * Making the machine and volume that a ledger row names, in whatever part they are missing: volume (with `compute`, so
 * that Fly picks a host where both fit), machine, `started`. The row stands before either exists; each id is written as
 * soon as Fly tells it, and a row that was discarded meanwhile keeps its ids for the bin.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { Guest } from "../../contract/MachineConfig.ts"
import { guestOf, machineConfig } from "../../contract/MachineConfig.ts"
import type { MachineName, MachineRow, NewMachine } from "../../domain/Machine.ts"
import type { Lease } from "../../domain/Project.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Fly } from "../../services/fly/Fly.ts"
import { Capacity, FlyError } from "../../services/fly/FlyError.ts"
import { Keys } from "../../services/Keys.ts"
import { Identity } from "../Identity.ts"
import * as Ids from "../Ids.ts"
import { lost } from "./Lease.ts"
import { machineStartMs } from "./limits.ts"

/** The row went to the bin while its machine was being made. */
export class RowDiscarded extends Schema.TaggedError<RowDiscarded>()("RowDiscarded", { name: Schema.String }) {
  override get message() {
    return `ledger row ${this.name} was discarded while its machine was being made`
  }
  get retryable(): boolean {
    return true
  }
}

export const newMachine = (region: string, volumeSizeGb?: number) =>
  Effect.gen(function* () {
    const config = yield* PlaneConfig
    const machine: NewMachine = {
      name: yield* Ids.machineName((yield* Identity).planeId),
      region,
      image: config.fly.image,
      volumeSizeGb: volumeSizeGb ?? config.fly.volumeGb,
      keyId: (yield* Keys).currentKeyId
    }
    return machine
  })

const guest = (config: { readonly vmSize: string; readonly vmMemoryMb: number }): Guest =>
  guestOf(config.vmSize, config.vmMemoryMb) ?? { cpu_kind: "shared", cpus: 1, memory_mb: config.vmMemoryMb }

/** Where the row's volume comes from, where it has none yet. */
export type VolumeSource = { readonly sourceVolumeId: string } | { readonly snapshotId: string } | null

const alive = (name: MachineName, row: MachineRow | null) =>
  row === null || row.status === "discarded" || row.status === "gone"
    ? Effect.fail(new RowDiscarded({ name }))
    : Effect.succeed(row)

export const provision = Effect.fn("provision")(function* (initial: MachineRow, source: VolumeSource = null) {
  const { fly: config } = yield* PlaneConfig
  const fly = yield* Fly
  const machines = yield* Machines
  const keys = yield* Keys
  const { planeId } = yield* Identity
  let row = initial
  if (row.volumeId === null) {
    const volume = yield* fly.createVolume({
      name: row.name,
      region: row.region,
      sizeGb: row.volumeSizeGb,
      compute: guest(config),
      ...source
    })
    row = yield* Effect.flatMap(
      machines.recordVolume(row.name, { volumeId: volume.id, region: volume.region }),
      (written) => alive(row.name, written)
    )
  }
  if (row.machineId === null && row.volumeId !== null) {
    const machine = yield* fly.createMachine({
      name: row.name,
      region: row.region,
      config: machineConfig({
        image: row.image,
        size: config.vmSize,
        memoryMb: config.vmMemoryMb,
        volumeId: row.volumeId,
        name: row.name,
        planeId,
        internalSecret: Redacted.value(yield* keys.machineSecret(row.name, row.keyId)),
        idleSuspend: config.idleSuspend
      })
    })
    row = yield* Effect.flatMap(
      machines.recordMachine(row.name, { machineId: machine.id, privateIp: machine.privateIp }),
      (written) => alive(row.name, written)
    )
  }
  if (row.machineId !== null) yield* fly.waitForMachine(row.machineId, machineStartMs)
  return row
})

const noRoom = (detail: string) =>
  new FlyError({ operation: "provision", reason: new Capacity({ scope: "quota", detail }) })

/**
 * The cold path of one operation: a row of its own in the first region that has room. A row that could not be filled
 * goes to the bin before the next region is tried.
 */
export const coldMachine = Effect.fn("coldMachine")(function* (
  lease: Lease,
  options: { readonly region: string; readonly volumeSizeGb?: number; readonly source?: VolumeSource }
) {
  const { fly: config } = yield* PlaneConfig
  const machines = yield* Machines
  const regions = [options.region, ...config.regions.filter((region) => region !== options.region)]
  let refusal = noRoom("no region is allowed")
  for (const region of regions) {
    const fresh = yield* newMachine(region, options.volumeSizeGb)
    const inserted = yield* machines.insertFor(lease, fresh, config.maxMachines)
    if (inserted === "lost") return yield* lost(lease)
    if (inserted === "full") return yield* noRoom(`the plane has reached VALET_MAX_MACHINES (${config.maxMachines})`)
    const row = yield* Effect.flatMap(machines.find(fresh.name), (written) => alive(fresh.name, written))
    const made = yield* Effect.result(provision(row, options.source ?? null))
    if (made._tag === "Success") return made.success
    const error = made.failure
    yield* machines.discard({ name: fresh.name, from: ["provisioning"], reason: error.message })
    if (error._tag !== "FlyError" || error.reason._tag !== "Capacity") return yield* error
    refusal = error
  }
  return yield* refusal
})
