/** The orchestrator's metrics. No label names a project: there may be thousands of them, and names are the users'. */
import { type OrchestratorStatus, ServerState } from "../../contract/OrchestratorStatus.ts"
import { counter, exposition, type Family, gauge, label } from "../../http/Exposition.ts"

/** Of ascending values, the one that this share of them does not exceed. */
const quantile = (ascending: ReadonlyArray<number>, share: number): number =>
  ascending[Math.max(0, Math.ceil(share * ascending.length) - 1)] ?? 0

const coldStarts = ({ servers }: OrchestratorStatus): Family => {
  const seconds = servers
    .flatMap(({ cold_start_ms }) => (cold_start_ms === null ? [] : [cold_start_ms / 1000]))
    .toSorted((one, other) => one - other)
  return {
    name: "valet_orchestrator_last_cold_start_seconds",
    type: "gauge",
    help: "From the request to ready, of the last start of each server listed; quantile 1 is the slowest.",
    samples:
      seconds.length === 0
        ? []
        : [0.5, 0.9, 1].map((share) => [label("quantile", String(share)), quantile(seconds, share)] as const)
  }
}

export const metrics = (status: OrchestratorStatus): string => {
  const { totals, servers } = status
  return exposition([
    {
      name: "valet_orchestrator_servers",
      type: "gauge",
      help: "Servers by state.",
      samples: ServerState.literals.map((state) => [
        label("state", state),
        servers.filter((server) => server.state === state).length
      ])
    },
    gauge(
      "valet_orchestrator_unhealthy_servers",
      "Servers whose last health check failed.",
      servers.filter(({ health }) => health.status === "unhealthy").length
    ),
    gauge("valet_orchestrator_max_servers", "Servers that may run at a time.", totals.max_servers),
    gauge("valet_orchestrator_warm_servers", "Servers started without a project.", totals.warm_servers),
    gauge("valet_orchestrator_connections", "Upgraded connections that are open.", totals.connections),
    ...(totals.memory_bytes === null
      ? []
      : [gauge("valet_orchestrator_servers_memory_bytes", "Memory of all servers.", totals.memory_bytes)]),
    coldStarts(status),
    counter("valet_orchestrator_requests_total", "Requests and connections for projects.", totals.requests),
    counter("valet_orchestrator_spawns_total", "Servers started for a project.", totals.spawns),
    counter("valet_orchestrator_warm_claims_total", "Of those, claimed from the warm ones.", totals.warm_claims),
    counter("valet_orchestrator_stops_total", "Servers stopped.", totals.stops),
    counter("valet_orchestrator_crashes_total", "Servers that ended by themselves.", totals.crashes),
    counter("valet_orchestrator_evictions_total", "Idle servers stopped to make room.", totals.evictions),
    counter("valet_orchestrator_replaced_total", "Servers replaced because they were unhealthy.", totals.replaced),
    counter("valet_orchestrator_refused_total", "Requests that got no server.", totals.refused),
    gauge("valet_orchestrator_uptime_seconds", "Since the orchestrator started.", status.uptime_seconds),
    {
      name: "valet_orchestrator_info",
      type: "gauge",
      help: "Always 1; the label tells the version.",
      samples: [[label("version", status.version), 1]]
    }
  ])
}
