/**
 * Random rounds of operations at the same time, from several connections of two instances: what each returned and every
 * row after the round must be explained by a serial order of them on the model. `VALET_HISTORIES` is how many.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { Locks } from "../../../src/services/locks/Locks.ts"
import { runLocks } from "../../contract/stores/ConcurrentLocks.ts"
import { type Live, runConcurrent } from "../../contract/stores/ConcurrentRunner.ts"
import { StoreTime, type Stores } from "../../contract/stores/StoreHarness.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import {
  blocker,
  layerInstance,
  layerStores,
  sharedByFile,
  TestDatabase,
  waitingStores
} from "../../support/TestDatabase.ts"

class Second extends Context.Service<Second, Context.Context<Stores | Locks>>()("test/Second") {}

const second = Layer.effect(
  Second,
  Effect.gen(function* () {
    const time = yield* StoreTime
    return Second.of(Context.add(yield* Layer.build(layerInstance), StoreTime, time))
  })
)
const postgres = sharedByFile(second.pipe(Layer.provideMerge(layerStoreTime), Layer.provideMerge(layerStores)))

const roundsEach = 40

/** Looks often: while the gate is closed, its waiters come nearer to their lock timeout. */
const often = Schedule.spaced("2 millis").pipe(Schedule.upTo({ times: 500 }))

const live = Effect.gen(function* () {
  const database = yield* TestDatabase
  const gate: Live["gate"] = (projects, expected, clients) =>
    Effect.scoped(
      Effect.gen(function* () {
        const ids = projects.map((project) => `'p${project}'`).join(", ")
        const { release } = yield* Effect.orDie(
          blocker(`SELECT FROM valet.projects WHERE project_id IN (${ids}) ORDER BY project_id FOR UPDATE`).pipe(
            Effect.provideService(TestDatabase, database)
          )
        )
        const fiber = yield* Effect.forkScoped(clients)
        const allWait = Effect.map(database.query(waitingStores), (rows) => rows.length >= expected())
        yield* allWait.pipe(Effect.repeat({ until: (so) => so, schedule: often }), Effect.orDie)
        yield* Effect.orDie(release)
        yield* Fiber.join(fiber)
      })
    )
  return { instances: [yield* Effect.context<Stores>(), yield* Second], gate } satisfies Live
})

const asked = Effect.orDie(Config.Int("VALET_HISTORIES").pipe(Config.withDefault(4)))

describe("operations at the same time", () => {
  it.live(
    "are explained by a serial order",
    () =>
      Effect.gen(function* () {
        for (let seed = 1; seed <= (yield* asked); seed++) {
          const outcome = yield* Effect.flatMap(live, (parts) => runConcurrent(seed, roundsEach, parts)).pipe(
            Effect.provide(postgres)
          )
          assert.isNull(outcome.failure, outcome.failure ?? "")
          assert.isBelow(outcome.refused, outcome.calls, "contention left nothing to explain")
        }
      }),
    600_000
  )

  it.live("one holder of a task lock at a time, and who is refused met one", () =>
    Effect.gen(function* () {
      const { query } = yield* TestDatabase
      const instances = [yield* Locks, Context.get(yield* Second, Locks)] as const
      yield* runLocks(1, 50, instances, query("SELECT 1"))
    }).pipe(Effect.provide(postgres))
  )
})
