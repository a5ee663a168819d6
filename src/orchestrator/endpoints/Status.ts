/** The orchestrator's state as one value: what `/status` answers and `/metrics` counts. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { version } from "../../process/Version.ts"
import type { OrchestratorStatus, ServerState } from "../../contract/OrchestratorStatus.ts"
import { OrchestratorConfig } from "../OrchestratorConfig.ts"
import { Supervisor } from "../Supervisor.ts"
import { WarmCount } from "../WarmCount.ts"

/** In these a server has a process. */
const live: ReadonlySet<ServerState> = new Set<ServerState>(["starting", "running", "idle", "stopping"])

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

/** Uptime counts from here. */
export const make = Effect.gen(function* () {
  const { maxServers } = yield* OrchestratorConfig
  const supervisor = yield* Supervisor
  const warmCount = yield* WarmCount
  const startedAt = yield* Clock.currentTimeNanos

  const current = Effect.gen(function* () {
    const [servers, totals, warm, now] = yield* Effect.all([
      supervisor.status,
      supervisor.totals,
      warmCount,
      Clock.currentTimeNanos
    ])
    const memory = servers.flatMap(({ memory_bytes }) => (memory_bytes === null ? [] : [memory_bytes]))
    const status: OrchestratorStatus = {
      version,
      uptime_seconds: Number((now - startedAt) / 1_000_000_000n),
      servers: servers.toSorted((one, other) => (one.project_id < other.project_id ? -1 : 1)),
      totals: {
        servers: servers.filter(({ state }) => live.has(state)).length,
        max_servers: maxServers,
        warm_servers: warm,
        connections: sum(servers.map(({ connections }) => connections)),
        requests: totals.requests,
        spawns: totals.spawns,
        warm_claims: totals.warmClaims,
        stops: totals.stops,
        crashes: totals.crashes,
        evictions: totals.evictions,
        replaced: totals.replaced,
        refused: totals.refused,
        memory_bytes: memory.length === 0 ? null : sum(memory)
      }
    }
    return status
  })
  return { current }
})
