/**
 * The Machines API's objects, decoded leniently: unknown states stay strings, unknown fields are dropped, and what Fly
 * leaves out while a host is away (`config`, then found in `incomplete_config`) has a neutral value.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { FlyMachine, FlySnapshot, FlyVolume } from "./Fly.ts"

const text = Schema.optionalKey(Schema.NullOr(Schema.String))

const WireConfig = Schema.Struct({
  image: text,
  metadata: Schema.optionalKey(Schema.NullOr(Schema.Record(Schema.String, Schema.String))),
  mounts: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Struct({ volume: text }))))
})

const WireMachine = Schema.Struct({
  id: Schema.String,
  name: text,
  state: Schema.String,
  region: text,
  instance_id: text,
  private_ip: text,
  host_status: text,
  created_at: text,
  config: Schema.optionalKey(Schema.NullOr(WireConfig)),
  incomplete_config: Schema.optionalKey(Schema.NullOr(WireConfig))
})

const WireVolume = Schema.Struct({
  id: Schema.String,
  name: text,
  state: Schema.String,
  region: text,
  size_gb: Schema.optionalKey(Schema.NullOr(Schema.Finite)),
  attached_machine_id: text,
  host_status: text,
  created_at: text
})

const WireSnapshot = Schema.Struct({
  id: Schema.String,
  size: Schema.optionalKey(Schema.NullOr(Schema.Finite)),
  created_at: text
})

const hostStatusOf = (status: string | null | undefined): FlyMachine["hostStatus"] =>
  status === undefined || status === null || status === "ok"
    ? "ok"
    : status === "unreachable"
      ? "unreachable"
      : "unknown"

const millisOf = (iso: string | null | undefined): number =>
  Option.match(DateTime.make(iso ?? ""), { onNone: () => 0, onSome: DateTime.toEpochMillis })

const filled = (value: string | null | undefined): string | null =>
  value === undefined || value === null || value === "" ? null : value

const machineOf = (wire: typeof WireMachine.Type): FlyMachine => {
  const config = wire.config ?? wire.incomplete_config
  return {
    id: wire.id,
    name: wire.name ?? "",
    state: wire.state,
    region: wire.region ?? "",
    instanceId: wire.instance_id ?? "",
    privateIp: filled(wire.private_ip),
    hostStatus: hostStatusOf(wire.host_status),
    image: filled(config?.image),
    volumeId: filled(config?.mounts?.[0]?.volume),
    metadata: config?.metadata ?? {},
    createdAt: millisOf(wire.created_at)
  }
}

const volumeOf = (wire: typeof WireVolume.Type): FlyVolume => ({
  id: wire.id,
  name: wire.name ?? "",
  state: wire.state,
  region: wire.region ?? "",
  sizeGb: wire.size_gb ?? 0,
  attachedMachineId: filled(wire.attached_machine_id),
  hostStatus: hostStatusOf(wire.host_status),
  createdAt: millisOf(wire.created_at)
})

const snapshotOf = (wire: typeof WireSnapshot.Type): FlySnapshot => ({
  id: wire.id,
  createdAt: millisOf(wire.created_at),
  sizeBytes: wire.size ?? 0
})

const decoder = <S extends Schema.ConstraintDecoder<unknown>, A>(schema: S, map: (wire: S["Type"]) => A) => {
  const decode = Schema.decodeUnknownEffect(schema)
  return (body: unknown) => Effect.map(decode(body), map)
}

export const decodeMachine = decoder(WireMachine, machineOf)
export const decodeMachines = decoder(Schema.NullOr(Schema.Array(WireMachine)), (all) => (all ?? []).map(machineOf))
export const decodeVolume = decoder(WireVolume, volumeOf)
export const decodeVolumes = decoder(Schema.NullOr(Schema.Array(WireVolume)), (all) => (all ?? []).map(volumeOf))
export const decodeSnapshots = decoder(Schema.NullOr(Schema.Array(WireSnapshot)), (all) => (all ?? []).map(snapshotOf))
export const decodeMetadata = decoder(
  Schema.NullOr(Schema.Record(Schema.String, Schema.String)),
  (metadata) => metadata ?? {}
)

const WireError = Schema.Struct({ error: text, message: text, status: text })
const decodeError = Schema.decodeUnknownOption(Schema.fromJsonString(WireError))

/** Both shapes of Fly's errors: `{error, status}` and, of leases, `{status: "error", message}`. */
export const errorOf = (body: string): { readonly text: string; readonly code: string } =>
  Option.match(decodeError(body), {
    onNone: () => ({ text: body, code: "" }),
    onSome: ({ error, message, status }) => ({ text: filled(message) ?? filled(error) ?? body, code: status ?? "" })
  })
