/** What an orchestrator tells of itself: the answer of its `GET /status`. */
import * as Schema from "effect/Schema"
import { ProjectId } from "../domain/ProjectId.ts"

/**
 * `backoff`: it crashed and waits for `retry_at`; one that nobody asks for then is shown for a minute more. `failed`: it
 * crashed too often; a request after `retry_at` tries again.
 */
export const ServerState = Schema.Literals(["starting", "running", "idle", "stopping", "backoff", "failed"])
export type ServerState = typeof ServerState.Type

/** ISO 8601, UTC. */
const Instant = Schema.String

export const ServerHealth = Schema.Struct({
  status: Schema.Literals(["unknown", "healthy", "unhealthy"]),
  /** Checks failed in a row. */
  misses: Schema.Int,
  checked_at: Schema.NullOr(Instant),
  detail: Schema.NullOr(Schema.String)
})

export const ServerStatus = Schema.Struct({
  project_id: ProjectId,
  state: ServerState,
  pid: Schema.NullOr(Schema.Int),
  port: Schema.NullOr(Schema.Int),
  /** Upgraded connections that are open. */
  connections: Schema.Int,
  /** Served since it was started, those under way included. */
  requests: Schema.Int,
  started_at: Schema.NullOr(Instant),
  idle_since: Schema.NullOr(Instant),
  /** When its idle time ends, if nobody comes. */
  stops_at: Schema.NullOr(Instant),
  /** When a server in `backoff` or `failed` may be started again. */
  retry_at: Schema.NullOr(Instant),
  /** Why it is not idle, a reason each; empty where it is. */
  awake_because: Schema.Array(Schema.String),
  health: ServerHealth,
  /** Since it was last stopped on purpose. */
  restarts: Schema.Int,
  /** Of its last start: from the request to ready. */
  cold_start_ms: Schema.NullOr(Schema.Int),
  warm: Schema.Boolean,
  memory_bytes: Schema.NullOr(Schema.Int),
  last_error: Schema.NullOr(Schema.String),
  /** Its last lines on stdout and stderr, oldest first. */
  last_output: Schema.Array(Schema.String)
})
export type ServerStatus = typeof ServerStatus.Type

export const OrchestratorStatus = Schema.Struct({
  version: Schema.String,
  uptime_seconds: Schema.Int,
  servers: Schema.Array(ServerStatus),
  totals: Schema.Struct({
    /** With a process: these count against `max_servers`. */
    servers: Schema.Int,
    max_servers: Schema.Int,
    /** Started, without a project yet. */
    warm_servers: Schema.Int,
    connections: Schema.Int,
    /** This and the following since the orchestrator started. */
    requests: Schema.Int,
    spawns: Schema.Int,
    warm_claims: Schema.Int,
    stops: Schema.Int,
    crashes: Schema.Int,
    evictions: Schema.Int,
    replaced: Schema.Int,
    refused: Schema.Int,
    /** Of all servers; null where the system does not tell. */
    memory_bytes: Schema.NullOr(Schema.Int)
  })
})
export type OrchestratorStatus = typeof OrchestratorStatus.Type
