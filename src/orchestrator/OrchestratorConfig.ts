/** The orchestrator's configuration as a value. `valet orchestrator` makes it from its flags. */
import * as Context from "effect/Context"
import type * as Redacted from "effect/Redacted"

export interface OrchestratorConfigValue {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Projects are also served at `<id>.<domain>`. */
  readonly domain: string
  /** Absolute. A project's files are in `<dataDir>/<id>`, the orchestrator's own in `<dataDir>/.valet`. */
  readonly dataDir: string
  /** Runs a project that has no command of its own: program and arguments, nothing of it a shell's. */
  readonly command: ReadonlyArray<string>
  /** Kept started without a project; the default command then has to speak the machine protocol. */
  readonly warmServers: number
  readonly idleTimeoutMs: number
  readonly healthCheckIntervalMs: number
  readonly healthPath: string
  readonly spawnTimeoutMs: number
  readonly stopGraceMs: number
  readonly maxServers: number
  /** Null: a server may run for ever. */
  readonly maxLifetimeMs: number | null
  /** From the last byte of a request to the head of its answer; 0 never ends it. */
  readonly responseTimeoutMs: number
  /** Spawns that one client may cause in a minute; 0: no limit. */
  readonly spawnsPerMinute: number
  /** Project ids that are served, with `*` for any characters; null: all. */
  readonly allow: string | null
  /** Only projects whose folder is there already. */
  readonly existingOnly: boolean
  /** Null: one is made and kept in the data folder. */
  readonly adminToken: Redacted.Redacted | null
  /** Addresses and CIDR ranges of proxies in front, whose X-Forwarded-* are believed. */
  readonly trustedProxies: ReadonlyArray<string>
}

export class OrchestratorConfig extends Context.Service<OrchestratorConfig, OrchestratorConfigValue>()(
  "valet/OrchestratorConfig"
) {}

/** The command line's defaults, as far as a value does not depend on where it runs. */
export const defaults = {
  host: "127.0.0.1",
  port: 7000,
  domain: "localhost",
  dataDir: "./data",
  warmServers: 0,
  idleTimeoutMs: 300_000,
  healthCheckIntervalMs: 15_000,
  healthPath: "/health",
  spawnTimeoutMs: 30_000,
  stopGraceMs: 10_000,
  maxServers: 100,
  maxLifetimeMs: null,
  responseTimeoutMs: 60_000,
  spawnsPerMinute: 60,
  allow: null,
  existingOnly: false,
  adminToken: null,
  trustedProxies: []
} as const satisfies Partial<OrchestratorConfigValue>
