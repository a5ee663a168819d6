/**
 * Clients write to a few projects through two instances that archive, wake, heal and clean up at the same time, while
 * machines are lost and calls fail, come late or twice. What was acknowledged last is always what is read next.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import type { Fault as FlyFault } from "../../src/local/fly/model/Faults.ts"
import { realisticDelays } from "../../src/local/fly/model/FlyState.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { sweep } from "../../src/programs/dormancy/Sweep.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { discard } from "../../src/programs/reconcile/Discard.ts"
import { recoverExpired } from "../../src/programs/reconcile/Expired.ts"
import { observe } from "../../src/programs/reconcile/Observe.ts"
import { reap } from "../../src/programs/reconcile/Reap.ts"
import type { Fault } from "../../src/testing/machine/FakeMachines.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { MemoryDatabase } from "../../src/testing/memory/MemoryDatabase.ts"
import { layerInstance } from "../../src/testing/memory/MemoryStores.ts"
import type { StoreFault } from "../../src/testing/memory/StoreFaults.ts"
import { StoreFaults } from "../../src/testing/memory/StoreFaults.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { amount } from "../support/amount.ts"
import { atRest, lose, newProject, read, rest, settled, viewOf } from "./support.ts"

const chaos = { on: false }
const chance = Effect.map(Random.next, (drawn) => (chaos.on ? drawn : 1))

const storeFault = Effect.map(chance, (drawn): StoreFault =>
  drawn < 0.01 ? "before" : drawn < 0.02 ? "after" : "none"
)
const layerFaults = Layer.succeed(StoreFaults, () => storeFault)

const layerOther = Layer.fresh(layerLifecycle).pipe(
  Layer.provideMerge(Layer.fresh(Signals.layer)),
  Layer.provideMerge(layerInstance("other").pipe(Layer.provide(layerFaults))),
  Layer.provide(MemoryDatabase.layer)
)

const machineFault = Effect.map(chance, (drawn): Fault => {
  if (drawn < 0.03) return { outcome: "unreachable_after" }
  if (drawn < 0.06) return { outcome: "unreachable" }
  if (drawn < 0.09) return { lateMs: Math.floor(drawn * 1_000_000) }
  if (drawn < 0.12) return { duplicate: true }
  if (drawn < 0.15) return { latencyMs: Math.floor(drawn * 50_000) }
  return {}
})

const flyFaults: ReadonlyArray<FlyFault> = [
  { kind: "drop", effect: "before" },
  { kind: "drop", effect: "after" },
  { kind: "late", ms: 30_000 },
  { kind: "error", status: 503, effect: "before" },
  { kind: "capacity", status: 412 },
  { kind: "empty_list" }
]

const pick = <A>(from: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, from.length - 1), (at) => from[at]).pipe(
    Effect.flatMap(Effect.fromNullishOr),
    Effect.orDie
  )

const storm = Effect.gen(function* () {
  const servers = yield* FakeMachines
  const mine = yield* Effect.context<Layer.Success<ReturnType<typeof layerTestPlane>>>()
  const other = yield* Layer.build(layerOther)
  const instances = [mine, Context.merge(mine, other)]
  const ids = yield* Effect.forEach(Array.from({ length: 3 }), () => newProject)
  const last = new Map<ProjectId, Set<string>>(ids.map((id) => [id, new Set(["precious"])]))
  yield* servers.setFaults(() => machineFault)
  const world = yield* FlyWorld
  yield* world.inject(...flyFaults.map((fault) => ({ match: { probability: 0.02 }, fault })))
  chaos.on = true
  let written = 0
  let acknowledged = 0

  /** As the edge does it: to the machine of the route, and back to the plane where it sends the request back. */
  const client = (id: ProjectId) =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      let woken = yield* lifecycle.wake(id, { deadlineMs: 25_000 })
      for (let hop = 0; hop < 3; hop++) {
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 2_000))
        const machineId = woken.view.machine?.machineId ?? ""
        const values = last.get(id) ?? new Set()
        const before = [...values]
        const seen = yield* servers.request({ machineId, projectId: id, document: "kept" })
        if (seen._tag === "Acknowledged") {
          assert.include(before, seen.value ?? "nothing", `${id} lost what it had acknowledged`)
          const write = `value ${++written}`
          const answer = yield* servers.request({ machineId, projectId: id, document: "kept", write })
          if (answer._tag === "Acknowledged") {
            acknowledged++
            last.set(id, new Set([write]))
          }
          return
        }
        woken = yield* lifecycle.heal(id, seen._tag === "SentBack" ? "stale" : "replay_failed", { deadlineMs: 25_000 })
      }
    }).pipe(Effect.catchTag("WakeError", () => Effect.void))

  const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  const act = Effect.gen(function* () {
    const id = yield* pick(ids)
    const instance = yield* pick(instances)
    const drawn = yield* Random.next
    const action: Effect.Effect<unknown, unknown, Layer.Success<ReturnType<typeof layerTestPlane>>> = drawn < 0.5
      ? client(id)
      : drawn < 0.7
        ? archive(id, { force: true })
        : drawn < 0.75
          ? Effect.flatMap(viewOf(id), (view) => lose(view.machine?.machineId ?? "", "machine"))
          : drawn < 0.8
            ? recoverExpired
            : drawn < 0.85
              ? discard
              : drawn < 0.9
                ? observe
                : drawn < 0.95
                  ? replenishPool
                  : drawn < 0.97
                    ? reap
                    : sweep
    const fiber = yield* Effect.forkChild(Effect.provide(action, instance))
    fibers.push(fiber)
    if ((yield* Random.next) < 0.1) {
      yield* Effect.forkChild(
        Effect.andThen(Effect.sleep(yield* Random.nextIntBetween(0, 20_000)), Fiber.interrupt(fiber))
      )
    }
  })
  yield* settled(
    Effect.gen(function* () {
      for (let step = 0; step < 200; step++) {
        yield* act
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 10_000))
      }
    })
  )
  chaos.on = false
  yield* servers.clearFaults
  yield* world.clearFaults
  yield* TestClock.adjust("30 minutes")
  for (const fiber of fibers) {
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, "everything ends")
    if (exit?._tag === "Failure" && String(exit.cause).includes("AssertionError"))
      return yield* Effect.failCause(exit.cause)
  }
  assert.isAbove(acknowledged, 20)
  yield* rest
  yield* settled(replenishPool)
  yield* rest
  yield* atRest
  for (const id of ids) assert.include([...(last.get(id) ?? [])], yield* read(id))
  yield* rest
  yield* settled(replenishPool)
  yield* atRest
})

const storms = amount(6, 48)

describe(`${storms} storms`, () => {
  it.effect.each(Array.from({ length: storms }, (_, seed) => seed))(
    "of seed %i loses nothing",
    (seed) =>
      storm.pipe(
        Effect.provide(
          layerTestPlane({
            config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }),
            fly: { params: { delays: realisticDelays } },
            stores: layerInstance("memory").pipe(Layer.provideMerge(MemoryDatabase.layer), Layer.provide(layerFaults))
          })
        ),
        Random.withSeed(`storm ${seed}`)
      ),
    60_000
  )
})
