/**
 * The control plane's configuration as a value. `fromEnvironment` (beside this file) reads it; an embedder or a test
 * makes its own. Durations are milliseconds.
 */
import * as Context from "effect/Context"
import type * as Redacted from "effect/Redacted"
import type { Window } from "../domain/RateLimit.ts"

export interface PlaneConfigValue {
  readonly port: number
  readonly host: string
  /** The bearer of protected endpoints, and its predecessor while rotating. */
  readonly secret: Redacted.Redacted
  readonly secretPrevious: Redacted.Redacted | null
  readonly internalSecret: Redacted.Redacted
  /** Older secrets that still open what they sealed. */
  readonly internalSecretsPrevious: ReadonlyArray<Redacted.Redacted>
  readonly database: {
    readonly url: Redacted.Redacted
    /** For advisory locks, LISTEN and migrations: they need a session of their own, not a pooler's. */
    readonly directUrl: Redacted.Redacted
  }
  readonly fly: {
    readonly apiUrl: string
    readonly token: Redacted.Redacted
    readonly app: string
    readonly region: string
    /** Allowed regions, the default one first; capacity errors fall through them in this order. */
    readonly regions: ReadonlyArray<string>
    readonly vmSize: string
    readonly vmMemoryMb: number
    readonly image: string
    readonly volumeGb: number
    /** All machines of the plane that are not gone; creation beyond it is refused as capacity. */
    readonly maxMachines: number
    /** `http://{machine_id}.vm.{app}.internal:3000` */
    readonly machineUrl: string
    readonly idleSuspend: "self" | "fly"
  }
  /** Null: the plane runs, archival is off, and it says so. */
  readonly r2: {
    readonly endpoint: string
    readonly accessKeyId: string
    readonly secretAccessKey: Redacted.Redacted
    readonly bucket: string
  } | null
  readonly pool: { readonly size: number; readonly intervalMs: number }
  readonly dormancy: { readonly thresholdMs: number; readonly sweepIntervalMs: number }
  readonly router: {
    /** Null: no subdomain routing, `/projects/<id>/…` only. */
    readonly domain: string | null
    /** The Fly app of this router: where sealed or foreign machines send a request back to. */
    readonly app: string | null
    readonly wakeTimeoutMs: number
    readonly replayTimeoutMs: number
    readonly replayFallback: "prefer_self" | "force_self" | "off"
    /** Requests whose user agent matches do not wake a project. */
    readonly noWake: RegExp | null
    /** `https://{project_id}.example.com`, for `url` in answers; null: derived from the request. */
    readonly publicUrl: string | null
  }
  readonly create: { readonly windows: ReadonlyArray<Window> | "off"; readonly public: boolean }
  /** `Fly-Client-IP` is trusted only when running on Fly (FLY_APP_NAME is set). */
  readonly onFly: boolean
}

export class PlaneConfig extends Context.Service<PlaneConfig, PlaneConfigValue>()("valet/PlaneConfig") {}
