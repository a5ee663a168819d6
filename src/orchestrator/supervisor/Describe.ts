/** An entry as the status tells it. */
import * as Effect from "effect/Effect"
import type { ServerState, ServerStatus } from "../../contract/OrchestratorStatus.ts"
import * as Entry from "./Entry.ts"
import { memoryOf } from "./Health.ts"
import { outputOf } from "./Output.ts"
import * as Uptime from "./Uptime.ts"

type Instant = (at: number | null) => string | null

const instantBy =
  (wall: (at: number) => number): Instant =>
  (at) =>
    at === null ? null : new Date(wall(at)).toISOString()

const some = (count: number, what: string): ReadonlyArray<string> =>
  count === 0 ? [] : [`${count} ${what}${count === 1 ? "" : "s"}`]

const awakeBecause = (entry: Entry.Entry, now: number, instant: Instant): ReadonlyArray<string> => [
  ...some(entry.connections, "connection"),
  ...some(entry.requests, "request"),
  ...(entry.waiters.size === 0 ? [] : [`${entry.waiters.size} waiting`]),
  ...(entry.lease !== null && entry.lease.until > now
    ? [`busy until ${instant(entry.lease.until)}: ${entry.lease.reason}`]
    : [])
]

const stateOf = (entry: Entry.Entry, now: number): ServerState | null => {
  switch (entry.state._tag) {
    case "Running":
      return Entry.idleSince(entry, now) === null ? "running" : "idle"
    case "Starting":
      return "starting"
    case "Stopping":
      return "stopping"
    case "Backoff":
      return "backoff"
    case "Failed":
      return "failed"
    case "Gone":
      return null
  }
}

/** Null where there is nothing to tell of it any more. */
export const describe = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  now: number
): Effect.fn.Return<ServerStatus | null> {
  const state = stateOf(entry, now)
  const instant = instantBy(yield* Uptime.wall)
  if (state === null) return null
  const running = "running" in entry.state ? entry.state.running : null
  const isRunning = entry.state._tag === "Running"
  const { health } = running ?? { health: null }
  const misses = health?.misses ?? 0
  const checkedAt = health?.checkedAt ?? null
  // Read here, together: the rest is asked of the process, and may take its time.
  const status = {
    project_id: entry.project,
    state,
    pid: running?.target.pid ?? null,
    port: running?.target.port ?? null,
    connections: entry.connections,
    requests: entry.served,
    started_at: instant(running?.readyAt ?? null),
    idle_since: isRunning ? instant(Entry.idleSince(entry, now)) : null,
    stops_at: isRunning && running !== null ? instant(Entry.stopsAt(entry, running, now)) : null,
    retry_at: "retryAt" in entry.state ? instant(entry.state.retryAt) : null,
    awake_because: awakeBecause(entry, now, instant),
    health: {
      status: checkedAt === null ? "unknown" : misses === 0 ? "healthy" : "unhealthy",
      misses,
      checked_at: instant(checkedAt),
      detail: health?.detail ?? null
    },
    restarts: entry.restarts,
    cold_start_ms: entry.coldStartMs,
    warm: running?.started.warm ?? false,
    last_error: entry.lastError
  } as const
  if (running === null) return { ...status, memory_bytes: null, last_output: entry.lastOutput }
  const { process } = running.started
  // As of its last health check; a server that has had none yet is asked.
  const memory_bytes = checkedAt === null ? yield* memoryOf(process) : (health?.memoryBytes ?? null)
  return { ...status, memory_bytes, last_output: yield* outputOf(process) }
})
