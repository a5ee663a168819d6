/** The volumes' part of `Fly` over HTTP. */
import * as Effect from "effect/Effect"
import { type CreateVolume, type FlyVolume, softDeleted } from "./Fly.ts"
import type { FlyCall } from "./FlyCall.ts"
import { limitsOf } from "./FlyPolicy.ts"
import * as FlyCreate from "./FlyCreate.ts"
import * as FlyWire from "./FlyWire.ts"

const READ = { attemptMs: 5_000, wholeMs: 15_000 }
const LIST = { attemptMs: 15_000, wholeMs: 30_000 }
const DELETE = { attemptMs: 10_000, wholeMs: 30_000 }
const CREATE = { attemptMs: 20_000, wholeMs: 60_000 }

const path = (id: string, rest = "") => `/volumes/${encodeURIComponent(id)}${rest}`

export const make = (fly: FlyCall) => {
  const getVolume = Effect.fn("Fly.getVolume")(function* (volumeId: string) {
    const call = { operation: "getVolume", method: "GET", path: path(volumeId), effects: "read" } as const
    return yield* fly.decoded({ ...call, identifier: volumeId, ...(yield* limitsOf(READ)) }, FlyWire.decodeVolume)
  })

  const listVolumes = Effect.gen(function* () {
    const call = { operation: "listVolumes", method: "GET", path: "/volumes", effects: "read" } as const
    const volumes = yield* fly.decoded({ ...call, ...(yield* limitsOf(LIST)) }, FlyWire.decodeVolumes)
    return volumes.filter((volume) => !softDeleted.has(volume.state))
  }).pipe(Effect.withSpan("Fly.listVolumes"))

  const createVolume = Effect.fn("Fly.createVolume")(function* (input: CreateVolume) {
    const limits = yield* limitsOf(CREATE)
    const body = {
      name: input.name,
      region: input.region,
      size_gb: input.sizeGb,
      compute: input.compute,
      // By default Fly avoids hosts that hold a volume of the same name, and runs out of them.
      require_unique_zone: false,
      ...(input.sourceVolumeId === undefined ? {} : { source_volume_id: input.sourceVolumeId }),
      ...(input.snapshotId === undefined ? {} : { snapshot_id: input.snapshotId })
    }
    const call = { operation: "createVolume", method: "POST", path: "/volumes", body, effects: "once" } as const
    const ours = (volume: FlyVolume) => volume.name === input.name && volume.attachedMachineId === null
    return yield* FlyCreate.exactlyOnce({
      operation: call.operation,
      send: fly.decoded({ ...call, ...limits }, FlyWire.decodeVolume),
      find: Effect.map(listVolumes, (volumes) => volumes.find(ours) ?? null),
      findExisting: () => Effect.succeed(null),
      deadline: limits.deadline
    })
  })

  const deleteVolume = Effect.fn("Fly.deleteVolume")(function* (volumeId: string) {
    const call = { operation: "deleteVolume", method: "DELETE", path: path(volumeId), effects: "repeatable" } as const
    yield* fly.text({ ...call, identifier: volumeId, ...(yield* limitsOf(DELETE)) }).pipe(
      Effect.catchReason("FlyError", "NotFound", () => Effect.void),
      // A volume on its way out may refuse: what counts is where it is.
      Effect.catch((error) =>
        getVolume(volumeId).pipe(
          Effect.filterOrFail(
            ({ state }) => softDeleted.has(state),
            () => error
          ),
          Effect.catchReason("FlyError", "NotFound", () => Effect.void),
          Effect.mapError(() => error)
        )
      )
    )
  })

  const listSnapshots = Effect.fn("Fly.listSnapshots")(function* (volumeId: string) {
    const call = { operation: "listSnapshots", method: "GET", path: path(volumeId, "/snapshots") } as const
    const limits = yield* limitsOf(READ)
    return yield* fly.decoded({ ...call, effects: "read", identifier: volumeId, ...limits }, FlyWire.decodeSnapshots)
  })

  return { createVolume, deleteVolume, getVolume, listVolumes, listSnapshots }
}
