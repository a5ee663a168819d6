/** The plane's loops. Each is a line: an embedder leaves one out by not naming it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Margins } from "../../config/Margins.ts"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { taskLocks } from "../../services/locks/Locks.ts"
import { sweep } from "../dormancy/Sweep.ts"
import { replenishPool } from "../pool/Replenish.ts"
import { discard } from "../reconcile/Discard.ts"
import { observe } from "../reconcile/Observe.ts"
import { reap } from "../reconcile/Reap.ts"
import { recoverExpired } from "../reconcile/Expired.ts"
import { loop } from "./Loop.ts"
import type { LoopReport } from "./LoopStatus.ts"
import { LoopStatus } from "./LoopStatus.ts"
import type { LoopName } from "./Signals.ts"
import { loopNames } from "./Signals.ts"

const minute = 60_000

const options = Effect.gen(function* () {
  const config = yield* PlaneConfig
  const margins = yield* Margins
  return {
    pool: loop({
      name: "pool",
      everyMs: config.pool.intervalMs,
      limitMs: 10 * minute,
      lock: taskLocks.pool,
      atOnce: true,
      run: replenishPool
    }),
    sweep: loop({
      name: "sweep",
      everyMs: config.dormancy.sweepIntervalMs,
      limitMs: 24 * 60 * minute,
      lock: taskLocks.sweep,
      atOnce: false,
      run: sweep
    }),
    discard: loop({
      name: "discard",
      everyMs: margins.reconcileEveryMs,
      limitMs: 15 * minute,
      lock: taskLocks.discard,
      atOnce: false,
      run: discard
    }),
    observe: loop({
      name: "observe",
      everyMs: margins.observeEveryMs,
      limitMs: 5 * minute,
      lock: taskLocks.observe,
      atOnce: false,
      run: observe
    }),
    reap: loop({
      name: "reap",
      everyMs: margins.reapEveryMs,
      limitMs: 10 * minute,
      lock: taskLocks.reap,
      atOnce: false,
      run: reap
    }),
    recovery: loop({
      name: "recovery",
      everyMs: margins.reconcileEveryMs,
      limitMs: 10 * minute,
      lock: taskLocks.recovery,
      atOnce: false,
      run: recoverExpired
    })
  } as const
})

/** Runs the named loops (all of them by default) in the layer's scope and tells how they fare. */
export const layerLoops = (names: ReadonlyArray<LoopName> = loopNames) =>
  Layer.effect(
    LoopStatus,
    Effect.gen(function* () {
      const all = yield* options
      const reports: Array<{ readonly current: Effect.Effect<LoopReport> }> = []
      for (const name of names) reports.push(yield* all[name])
      return LoopStatus.of({ statuses: Effect.forEach(reports, (report) => report.current) })
    })
  )
