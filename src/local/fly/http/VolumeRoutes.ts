/** `/v1/apps/{app}/volumes`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { FlyWorld } from "../FlyWorld.ts"
import { createSnapshot, listSnapshots } from "../model/Snapshots.ts"
import * as Volumes from "../model/Volumes.ts"
import { endpoint, json, onTarget, pageReply, paged, param } from "./Endpoint.ts"
import { snapshotJson, volumeJson } from "./Wire.ts"

const volumes = "/v1/apps/:app/volumes"
const one = `${volumes}/:volume` as const

const CreateBody = Schema.Struct({
  name: Schema.String,
  region: Schema.optionalKey(Schema.NullOr(Schema.String)),
  size_gb: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  fstype: Schema.optionalKey(Schema.NullOr(Schema.String)),
  encrypted: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  snapshot_retention: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  auto_backup_enabled: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  require_unique_zone: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  source_volume_id: Schema.optionalKey(Schema.NullOr(Schema.String)),
  snapshot_id: Schema.optionalKey(Schema.NullOr(Schema.String))
})

/** Null and absent are the same to Fly. */
const some = <K extends string, A>(key: K, value: A | null | undefined): { readonly [P in K]?: A } => {
  const field: { [P in K]?: A } = {}
  if (value !== null && value !== undefined && value !== "") field[key] = value
  return field
}

const list = endpoint("GET", volumes, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = param(input, "app")
    const found = yield* world.call({ operation: "listVolumes", app }, Volumes.listVolumes(app), { empty: [] })
    const state = yield* world.state
    return pageReply(yield* paged(input.query, found), (volume) => volumeJson(state, volume))
  })
)

const create = endpoint("POST", volumes, (input) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const app = param(input, "app")
    const body = yield* input.body(CreateBody)
    const volume = yield* world.call(
      { operation: "createVolume", app, name: body.name, ...some("region", body.region) },
      Volumes.createVolume(app, {
        name: body.name,
        ...some("region", body.region),
        ...some("sizeGb", body.size_gb),
        ...some("fstype", body.fstype),
        ...some("encrypted", body.encrypted),
        ...some("snapshotRetention", body.snapshot_retention),
        ...some("autoBackup", body.auto_backup_enabled),
        ...some("requireUniqueZone", body.require_unique_zone),
        ...some("sourceVolumeId", body.source_volume_id),
        ...some("snapshotId", body.snapshot_id)
      })
    )
    return json(volumeJson(yield* world.state, volume))
  })
)

const shown = <E, R>(volume: Effect.Effect<Parameters<typeof volumeJson>[1], E, R>) =>
  Effect.flatMap(volume, (it) =>
    Effect.flatMap(FlyWorld, (world) => Effect.map(world.state, (state) => volumeJson(state, it)))
  )

const get = endpoint("GET", one, (input) =>
  shown(onTarget(input, "getVolume", Volumes.getVolume)).pipe(Effect.map((it) => json(it)))
)

const UpdateBody = Schema.Struct({
  auto_backup_enabled: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  snapshot_retention: Schema.optionalKey(Schema.NullOr(Schema.Int))
})

const update = endpoint("PUT", one, (input) =>
  Effect.gen(function* () {
    const body = yield* input.body(UpdateBody)
    const change = {
      ...some("autoBackup", body.auto_backup_enabled),
      ...some("snapshotRetention", body.snapshot_retention)
    }
    return json(yield* shown(onTarget(input, "updateVolume", (app, id) => Volumes.updateVolume(app, id, change))))
  })
)

const extend = endpoint("PUT", `${one}/extend`, (input) =>
  Effect.gen(function* () {
    const { size_gb: sizeGb } = yield* input.body(Schema.Struct({ size_gb: Schema.Int }))
    const volume = yield* onTarget(input, "extendVolume", (app, id) => Volumes.extendVolume(app, id, sizeGb))
    return json({
      needs_restart: volume.machineId !== null,
      volume: yield* shown(Effect.succeed(volume))
    })
  })
)

const remove = endpoint("DELETE", one, (input) =>
  shown(onTarget(input, "deleteVolume", Volumes.deleteVolume)).pipe(Effect.map((it) => json(it)))
)

const snapshots = endpoint("GET", `${one}/snapshots`, (input) =>
  onTarget(input, "listSnapshots", listSnapshots).pipe(Effect.map((all) => json(all.map(snapshotJson))))
)

const snapshot = endpoint("POST", `${one}/snapshots`, (input) =>
  onTarget(input, "createSnapshot", createSnapshot).pipe(Effect.map((it) => json(snapshotJson(it))))
)

export const volumeRoutes = [list, create, get, update, extend, remove, snapshots, snapshot]
