/** The environment that a machine's process gets: its configuration's, with what differs on this computer replaced. */
import * as Effect from "effect/Effect"
import { inherited } from "../../../process/Inherited.ts"
import type { Machine } from "../model/FlyState.ts"

export interface Place {
  /** The volume's folder. */
  readonly folder: string
  readonly port: number
  /** Of the machine's own API. */
  readonly socket: string
  readonly extra: Readonly<Record<string, string>>
}

export const machineEnvironment = Effect.fnUntraced(function* (machine: Machine, place: Place) {
  return {
    ...(yield* inherited),
    ...machine.config.env,
    ...place.extra,
    PORT: String(place.port),
    DATA_DIR: place.folder,
    FLY_APP_NAME: machine.app,
    FLY_MACHINE_ID: machine.id,
    FLY_ALLOC_ID: machine.id,
    FLY_REGION: machine.region,
    FLY_PRIVATE_IP: machine.privateIp,
    FLY_IMAGE_REF: machine.config.image,
    FLY_MACHINE_VERSION: machine.instanceId,
    FLY_VM_MEMORY_MB: String(machine.config.guest?.memory_mb ?? 256),
    VALET_FLY_MACHINE_API: place.socket
  }
})
