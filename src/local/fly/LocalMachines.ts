/** What the edge and the private network need to know of the local Fly's machines. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

export interface LocalTarget {
  readonly id: string
  readonly app: string
  readonly region: string
  readonly state: string
  /** Loopback port of the machine's process; null while it has none. A suspended process keeps its port but is frozen. */
  readonly port: number | null
  /** Of the service that matches a public port (80 and 443 stand for the edge's one port). */
  readonly autostart: boolean
  /** Somebody holds its lease: the proxy's autostart is refused, as on Fly. */
  readonly leased: boolean
}

export class LocalMachines extends Context.Service<
  LocalMachines,
  {
    find(machineId: string): Effect.Effect<LocalTarget | null>
    /** Machines of an app, for requests that name no instance. */
    ofApp(app: string): Effect.Effect<ReadonlyArray<LocalTarget>>
    /** As Fly's proxy starts a stopped or suspended machine: returns once its port accepts, false where it can't. */
    autostart(machineId: string): Effect.Effect<boolean>
  }
>()("valet/LocalMachines") {}
