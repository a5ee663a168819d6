/** The map from project to running server: counted references, an idle time to live, restarts, capacity. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ServerStatus } from "../contract/OrchestratorStatus.ts"
import type { ProjectId } from "../domain/ProjectId.ts"

export interface Use {
  readonly project: ProjectId
  /** A request ends by itself; a connection (an upgrade) may stay for days. */
  readonly kind: "request" | "connection"
  /** Whom a spawn counts for; null: nobody, as for requests that come from this machine itself. */
  readonly client: string | null
}

export interface Target {
  readonly pid: number
  /** On 127.0.0.1. */
  readonly port: number
}

/**
 * `forbidden` 404 · `invalid` 500 its valet.json · `rate_limited` 429 · `full` 503 all servers are in use · `failed` 503
 * it does not start or keeps dying · `draining` 503.
 */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  reason: Schema.Literals(["forbidden", "invalid", "rate_limited", "full", "failed", "draining"]),
  detail: Schema.String,
  retryAfterSeconds: Schema.Int,
  /** Its last lines: for the operator's eyes. */
  output: Schema.Array(Schema.String)
}) {
  override get message() {
    return this.detail
  }
  get retryable() {
    return this.reason !== "forbidden" && this.reason !== "invalid"
  }
}

export class NoServer extends Schema.TaggedError<NoServer>()("NoServer", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

export interface Totals {
  readonly spawns: number
  readonly warmClaims: number
  readonly stops: number
  readonly crashes: number
  readonly evictions: number
  readonly replaced: number
  readonly refused: number
  readonly requests: number
}

export class Supervisor extends Context.Service<
  Supervisor,
  {
    /** The project's server, spawned if need be; in use, and so not stopped for idleness, until the scope closes. */
    use(use: Use): Effect.Effect<Target, Unavailable, Scope.Scope>
    /** Restarts the idle time of a running server; true where there is one. */
    ping(project: ProjectId): Effect.Effect<boolean>
    /**
     * The server with this token is busy for so long from now, whoever is connected; 0 ends it. A later call replaces an
     * earlier one. The lease ends with its process.
     */
    keepAwake(token: string, seconds: number, reason: string): Effect.Effect<void, NoServer>
    /** Stops it, whoever is connected; the next request starts it again. False where nothing runs. */
    stop(project: ProjectId): Effect.Effect<boolean>
    /** Forgets failures and back-off, and starts it anew if it ran. */
    restart(project: ProjectId): Effect.Effect<boolean>
    /** Its plan is read again: a changed idle time counts at once. */
    reload(project: ProjectId): Effect.Effect<void>
    readonly status: Effect.Effect<ReadonlyArray<ServerStatus>>
    readonly totals: Effect.Effect<Totals>
    /** Refuses what is new and stops all servers; returns once they are gone. Also what the end of its scope does. */
    readonly drain: Effect.Effect<void>
  }
>()("valet/Supervisor") {}
