/**
 * `wake`: from a request for a dormant project to the answer with `fly-replay`, by phase, beside a script that makes the
 * same calls and nothing else; from the pool and cold, one project and many; and the restore itself, by real servers.
 *
 * The plane's process also does the work of its database (memory stores), machines and Fly, which costs the script
 * nothing: of many at once that is a part of the figure.
 */
import * as Effect from "effect/Effect"
import { realisticDelays } from "../src/local/fly/model/FlyState.ts"
import type { Bench } from "./harness/Bench.ts"
import { figure } from "./harness/Rounds.ts"
import { start } from "./plane/Processes.ts"
import { restores } from "./wake/Restore.ts"
import { ask, play, type Scene } from "./wake/Scene.ts"
import type { Task } from "./wake/Task.ts"

const documented = "the documents' figure"
const startMs = realisticDelays.prepareMs + (realisticDelays.bootMs ?? 0)

const warm = (quick: boolean): Scene => ({
  name: "from the pool",
  rounds: quick ? 4 : 15,
  task: { source: "pool", budget: false, startMs: 0 },
  alone: 20,
  crowds: quick ? [25] : [25, 100],
  goal: { atMost: 1.3 }
})

const cold = (quick: boolean): Scene => ({
  name: "cold, Fly without a budget",
  rounds: quick ? 2 : 9,
  task: { source: "cold", budget: false, startMs: 0 },
  alone: quick ? 2 : 4,
  crowds: quick ? [25] : [25, 100],
  goal: { atMost: 1.3 }
})

/** A round takes about as many seconds as there are projects, by either side. */
const budgeted = (rounds: number, count: number): Scene => ({
  name: "cold, within Fly's budget",
  rounds,
  task: { source: "cold", budget: true, startMs: 0 },
  alone: 1,
  crowds: [count],
  goal: { atMost: 1.3 },
  note: "Fly creates three at once and then one a second"
})

const realistic = (quick: boolean): Scene => ({
  name: `cold, Fly takes ${startMs / 1_000} s to start a machine`,
  rounds: quick ? 1 : 3,
  task: { source: "cold", budget: true, startMs },
  alone: 1,
  crowds: [],
  goal: { of: "value", atMost: 4_000 },
  note: documented
})

/** As an instance that has woken projects before. */
const warmUp: Task = { source: "pool", projects: 100, atOnce: 100, budget: false, startMs: 0 }

export const wake: Bench = {
  name: "wake",
  summary: "from a request for a dormant project to its replay, by phase, and the restore of its database",
  run: ({ quick }) =>
    Effect.gen(function* () {
      const ports = { bare: (yield* start("wake/Bare.ts", {})).port, valet: (yield* start("wake/Waker.ts", {})).port }
      yield* Effect.forEach([ports.bare, ports.bare, ports.valet, ports.valet], (port) => ask(port, warmUp))
      const fromPool = yield* play(warm(quick), ports)
      const fromNothing = yield* play(cold(quick), ports)
      const limited = quick ? [budgeted(1, 6)] : [budgeted(3, 25), budgeted(1, 100)]
      const withBudget = yield* Effect.forEach(limited, (scene) => play(scene, ports))
      const real = yield* play(realistic(quick), ports)
      const restored = yield* restores(quick)
      return [
        fromPool.one,
        ...fromPool.phases,
        figure({
          name: "one, from the pool, in all",
          unit: "ms",
          series: fromPool.total,
          goal: { of: "value", atMost: 800 },
          note: documented
        }),
        ...fromPool.crowds,
        fromNothing.one,
        ...fromNothing.phases,
        ...fromNothing.crowds,
        ...withBudget.flatMap(({ crowds }) => crowds),
        real.one,
        ...restored
      ]
    })
}
