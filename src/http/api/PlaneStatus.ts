/** `/api/status`: one look at the database, at this instance's loops and at its router. */
import * as Effect from "effect/Effect"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { Status } from "../../contract/Status.ts"
import { LoopStatus } from "../../programs/background/LoopStatus.ts"
import { Machines } from "../../services/db/Machines.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Router } from "../router/Router.ts"
import { fromStore } from "./Failures.ts"
import { iso, isoOrNull } from "./Views.ts"

const maxRunning = 50

export const planeStatus = Effect.gen(function* () {
  const config = yield* PlaneConfig
  const projects = yield* Projects
  const machines = yield* Machines
  const loops = yield* LoopStatus
  const router = yield* Router

  const look = Effect.gen(function* () {
    const read = yield* Effect.all(
      {
        counts: projects.counts,
        running: projects.running(maxRunning),
        pool: machines.pool,
        bin: machines.binCounts,
        loops: loops.statuses
      },
      { concurrency: 4 }
    ).pipe(Effect.catchTag("StoreError", fromStore))
    const { states, operations, dataUnavailable } = read.counts
    const stats = router.stats()
    const regions: Record<string, { ready: number; provisioning: number }> = {}
    for (const region of config.fly.regions) regions[region] = { ready: 0, provisioning: 0 }
    for (const row of read.pool) {
      const counts = (regions[row.region] ??= { ready: 0, provisioning: 0 })
      if (row.status === "ready") counts.ready++
      else counts.provisioning++
    }
    const status: Status = {
      projects: { ...states, data_unavailable: dataUnavailable },
      operations: { ...operations },
      running: read.running.map((project) => ({
        project_id: project.projectId,
        operation: project.operation,
        generation: project.generation,
        lease_until: isoOrNull(project.leaseUntil)
      })),
      pool: { target: config.pool.size, regions },
      bin: read.bin,
      machines: {
        used: states.active + states.suspended + read.pool.length + read.bin.discarded,
        max: config.fly.maxMachines
      },
      archival: config.r2 === null ? "off" : "on",
      router: {
        replays: stats.replays,
        cached: stats.cached,
        wakes: stats.wakes,
        wake_failures: stats.wakeFailures,
        stale: stats.stale,
        replay_failures: stats.replayFailures,
        overloaded: stats.overloaded,
        waiting: stats.waiting,
        routes: stats.routes,
        feed_connected: stats.feedConnected
      },
      loops: read.loops.map((loop) => ({
        name: loop.name,
        running: loop.running,
        runs: loop.runs,
        failures: loop.failures,
        last_run_at: isoOrNull(loop.lastRunAt),
        last_duration_ms: loop.lastDurationMs,
        last_error: loop.lastError,
        next_run_at: loop.nextRunAt === null ? null : iso(loop.nextRunAt)
      }))
    }
    return status
  })
  return { look }
})
