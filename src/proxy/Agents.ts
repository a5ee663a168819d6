/** Kept connections, each set of them to one process: a new one on an old port never gets its predecessor's. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as http from "node:http"

export interface Process {
  readonly pid: number
  readonly port: number
}

export interface Agents {
  of(process: Process): http.Agent
  /** Forgets those without a connection, as all are some time after their last request or the end of their process. */
  sweep(): void
}

/** Kept to one process. */
const maxIdleSockets = 64
const idleSocketMs = 30_000

const isUnused = (agent: http.Agent) =>
  [agent.sockets, agent.freeSockets, agent.requests].every((sockets) => Object.keys(sockets).length === 0)

export const make: Effect.Effect<Agents, never, Scope.Scope> = Effect.gen(function* () {
  const agents = new Map<string, http.Agent>()
  yield* Effect.addFinalizer(() => Effect.sync(() => agents.forEach((agent) => agent.destroy())))
  return {
    of({ pid, port }) {
      const key = `${pid}:${port}`
      const known = agents.get(key)
      if (known !== undefined) return known
      const agent = new http.Agent({ keepAlive: true, maxFreeSockets: maxIdleSockets, timeout: idleSocketMs })
      agents.set(key, agent)
      return agent
    },
    sweep() {
      for (const [key, agent] of agents) if (isUnused(agent)) agents.delete(key)
    }
  }
})
