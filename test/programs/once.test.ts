/**
 * One thing goes wrong, once: every statement, call of Fly, call of a machine and transfer that an operation makes fails
 * in each way it can, or the instance dies at it. Afterwards everything comes to rest and nothing acknowledged is lost.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import type { Fault as FlyFault } from "../../src/local/fly/model/Faults.ts"
import { deleteMachine } from "../../src/local/fly/model/Machines.ts"
import type { Operation } from "../../src/local/fly/model/Operations.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { MemoryDatabase } from "../../src/testing/memory/MemoryDatabase.ts"
import { layerInstance } from "../../src/testing/memory/MemoryStores.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { defaultApp } from "../../src/testing/fly/FlyMemory.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import type { Fault as MachineFault } from "../../src/testing/machine/FakeMachines.ts"
import type { StoreFault } from "../../src/testing/memory/StoreFaults.ts"
import { StoreFaults } from "../../src/testing/memory/StoreFaults.ts"
import { MemoryR2 } from "../../src/testing/MemoryR2.ts"
import type { Fault as R2Fault, Operation as R2Operation } from "../../src/testing/MemoryR2.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, createInput, lose, newProject, read, rest, settled, viewOf } from "./support.ts"

type Services = Layer.Success<ReturnType<typeof layerTestPlane>>
type MachineCall = "configure" | "archive-to-r2" | "unseal" | "health"

/** The outside calls that an operation makes. */
interface Reaches {
  readonly fly: ReadonlyArray<Operation>
  readonly machine: ReadonlyArray<MachineCall>
  readonly r2: ReadonlyArray<R2Operation>
}

/** Counts the statements while `armed`, and spoils the nth; `dead`: none gets through any more. */
const database = () => {
  const state = { armed: false, dead: false, nth: 0, kind: "before" as StoreFault | "dies", seen: [] as Array<string> }
  const faults = (operation: string) =>
    Effect.suspend((): Effect.Effect<StoreFault> => {
      if (state.dead) return Effect.never
      if (!state.armed) return Effect.succeed("none")
      state.seen.push(operation)
      if (state.seen.length !== state.nth) return Effect.succeed("none")
      if (state.kind !== "dies") return Effect.succeed(state.kind)
      state.dead = true
      return Effect.never
    })
  return { state, layer: Layer.succeed(StoreFaults, faults) }
}

const scenarios: Readonly<
  Record<
    string,
    {
      readonly prepare: Effect.Effect<ProjectId, unknown, Services>
      readonly run: (id: ProjectId) => Effect.Effect<unknown, unknown, Services>
      readonly reaches: Reaches
    }
  >
> = {
  "a warm wake": {
    reaches: { fly: [], machine: ["configure"], r2: ["presignGet", "get"] },
    prepare: Effect.gen(function* () {
      const id = yield* newProject
      yield* settled((yield* Lifecycle).sleep(id, "dormant"))
      yield* settled(replenishPool)
      return id
    }),
    run: (id) => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.wake(id, { deadlineMs: 120_000 }))
  },
  "a cold wake": {
    reaches: {
      fly: ["createVolume", "createMachine", "waitMachine"],
      machine: ["configure"],
      r2: ["presignGet", "get"]
    },
    prepare: Effect.gen(function* () {
      const id = yield* newProject
      yield* settled((yield* Lifecycle).sleep(id, "dormant"))
      return id
    }),
    run: (id) => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.wake(id, { deadlineMs: 120_000 }))
  },
  "an archive": {
    reaches: { fly: ["getMachine"], machine: ["archive-to-r2"], r2: ["presignPut", "put", "checksum"] },
    prepare: newProject,
    run: (id) => archive(id, { force: true })
  },
  "a rehost": {
    reaches: {
      fly: ["createMachine", "getMachine", "getVolume", "deleteMachine", "waitMachine"],
      machine: ["configure", "unseal", "health"],
      r2: []
    },
    prepare: Effect.gen(function* () {
      const id = yield* newProject
      yield* lose((yield* viewOf(id)).machine?.machineId ?? "", "machine")
      return id
    }),
    run: (id) =>
      Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 10 * 60_000 }))
  },
  "a rehost onto a fork": {
    reaches: {
      fly: ["createVolume", "createMachine", "getMachine", "getVolume", "deleteMachine", "waitMachine"],
      machine: ["configure", "unseal", "health"],
      r2: []
    },
    prepare: Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      yield* world.apply(deleteMachine(defaultApp, (yield* viewOf(id)).machine?.machineId ?? "", undefined, true))
      yield* TestClock.adjust("10 minutes")
      const full = { kind: "capacity", status: 412 } as const
      yield* world.inject({ match: { operation: "createMachine" }, times: 1, fault: full })
      return id
    }),
    run: (id) =>
      Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 10 * 60_000 }))
  },
  "a request during an archive": {
    reaches: {
      fly: ["createVolume", "createMachine", "getMachine", "waitMachine"],
      machine: ["configure", "archive-to-r2"],
      r2: ["presignPut", "presignGet", "put", "get", "checksum"]
    },
    prepare: newProject,
    run: (id) =>
      Effect.gen(function* () {
        const archiving = yield* Effect.forkChild(Effect.exit(archive(id, { force: true })))
        yield* Effect.sleep(1)
        yield* Effect.exit((yield* Lifecycle).wake(id, { deadlineMs: 120_000 }))
        yield* Fiber.await(archiving)
      })
  },
  "a create beside it": {
    reaches: { fly: ["createVolume", "createMachine", "waitMachine"], machine: ["configure"], r2: [] },
    prepare: newProject,
    run: () => Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.create(createInput))
  }
}

const check = (id: ProjectId) =>
  Effect.gen(function* () {
    yield* TestClock.adjust("1 minute")
    yield* rest
    yield* atRest
    assert.strictEqual(yield* read(id), "precious")
    yield* rest
    yield* atRest
  })

const layer = (faults: ReturnType<typeof database>) =>
  layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }) }).pipe(
    Layer.provide(faults.layer)
  )

/** Another instance over the same database, Fly, bucket and machines. */
const layerOther = Layer.fresh(layerLifecycle).pipe(
  Layer.provideMerge(Layer.fresh(Signals.layer)),
  Layer.provideMerge(
    layerInstance("other").pipe(Layer.provide(Layer.succeed(StoreFaults, () => Effect.succeed("none"))))
  ),
  Layer.provide(MemoryDatabase.layer)
)

/**
 * Tries each call in each way, and answers the calls that were made. One that is not made in the first way is made in
 * none: up to the fault all of these runs are the same.
 */
const inEachWay = <C, W, E, R>(
  calls: ReadonlyArray<C>,
  ways: ReadonlyArray<W>,
  spoilt: (call: C, way: W) => Effect.Effect<boolean, E, R>
) =>
  Effect.filter(
    calls,
    Effect.fnUntraced(function* (call) {
      for (const way of ways) if (!(yield* spoilt(call, way))) return false
      return true
    })
  )

for (const [name, scenario] of Object.entries(scenarios)) {
  /** Beside another project's machine: an empty listing of Fly proves nothing. */
  const prepared = Effect.andThen(newProject, scenario.prepare)
  describe(`${name}, once`, () => {
    for (const kind of ["before", "after"] as const) {
      it.effect(
        `with each statement failing ${kind} its effect`,
        () =>
          Effect.gen(function* () {
            for (let nth = 1; nth < 60; nth++) {
              const faults = database()
              const spoiled = yield* Effect.gen(function* () {
                const id = yield* prepared
                Object.assign(faults.state, { armed: true, nth, kind })
                yield* settled(Effect.exit(scenario.run(id)))
                faults.state.armed = false
                yield* check(id).pipe(
                  Effect.tapCause(() => Effect.logError(`statement ${nth}: ${faults.state.seen[nth - 1]}`))
                )
                return faults.state.seen.length >= nth
              }).pipe(Effect.provide(layer(faults)))
              if (!spoiled) return assert.isAbove(nth, 3)
            }
          }).pipe(Random.withSeed(`${name} ${kind}`)),
        120_000
      )
    }

    it.effect(
      "with an instance that dies at each statement, and another that is left",
      () =>
        Effect.gen(function* () {
          for (let nth = 1; nth < 60; nth++) {
            const faults = database()
            const died = yield* Effect.gen(function* () {
              const id = yield* prepared
              Object.assign(faults.state, { armed: true, nth, kind: "dies" })
              const doomed = yield* Effect.forkChild(Effect.exit(scenario.run(id)))
              yield* settled(
                Effect.raceFirst(
                  Fiber.await(doomed),
                  Effect.repeat(Effect.sleep("1 second"), { until: () => faults.state.dead })
                )
              )
              yield* check(id).pipe(
                Effect.tapCause(() => Effect.logError(`statement ${nth}: ${faults.state.seen[nth - 1]}`)),
                Effect.provide(layerOther)
              )
              return faults.state.dead
            }).pipe(Effect.provide(layer(faults)))
            if (!died) return assert.isAbove(nth, 3)
          }
        }).pipe(Random.withSeed(`${name} dies`)),
      120_000
    )

    const flyFaults: ReadonlyArray<FlyFault> = [
      { kind: "drop", effect: "before" },
      { kind: "drop", effect: "after" },
      { kind: "late", ms: 40_000 },
      { kind: "error", status: 500, effect: "after" },
      { kind: "rate_limit" }
    ]
    const operations: ReadonlyArray<Operation> = [
      "createVolume",
      "createMachine",
      "getMachine",
      "getVolume",
      "startMachine",
      "deleteMachine",
      "waitMachine"
    ]
    it.effect(
      "with each call of Fly failing in each way",
      () =>
        Effect.gen(function* () {
          const reached = yield* inEachWay(operations, flyFaults, (operation, fault) =>
            Effect.gen(function* () {
              const world = yield* FlyWorld
              const id = yield* prepared
              yield* world.inject({ match: { operation }, times: 1, fault })
              yield* settled(Effect.exit(scenario.run(id)))
              const { faults } = yield* world.state
              yield* world.clearFaults
              if (!faults.some(({ hits, rule }) => rule.fault === fault && hits > 0)) return false
              yield* check(id).pipe(Effect.tapCause(() => Effect.logError(`${operation} ${JSON.stringify(fault)}`)))
              return true
            }).pipe(Effect.provide(layer(database())))
          )
          assert.deepStrictEqual(reached, scenario.reaches.fly)
        }).pipe(Random.withSeed(`${name} fly`)),
      120_000
    )

    const machineFaults: ReadonlyArray<MachineFault> = [
      { outcome: "unreachable" },
      { outcome: "unreachable_after" },
      { duplicate: true },
      { lateMs: 500 },
      { lateMs: 90_000 },
      { latencyMs: 20_000 },
      { outcome: "seal_fails" },
      { outcome: "restore_fails" }
    ]
    const machineCalls: ReadonlyArray<MachineCall> = ["configure", "archive-to-r2", "unseal", "health"]
    const machineWays = machineFaults.flatMap((fault) => [1, 100].map((times) => ({ fault, times })))
    it.effect(
      "with each call of a machine failing in each way",
      () =>
        Effect.gen(function* () {
          const reached = yield* inEachWay(machineCalls, machineWays, (call, { fault, times }) =>
            Effect.gen(function* () {
              const servers = yield* FakeMachines
              const id = yield* prepared
              let left = times
              yield* servers.setFaults((called) => Effect.sync(() => (called === call && left-- > 0 ? fault : {})))
              yield* settled(Effect.exit(scenario.run(id)))
              yield* servers.clearFaults
              if (left === times) return false
              yield* check(id).pipe(Effect.tapCause(() => Effect.logError(`${call} ${times} ${JSON.stringify(fault)}`)))
              return true
            }).pipe(Effect.provide(layer(database())))
          )
          assert.deepStrictEqual(reached, scenario.reaches.machine)
        }).pipe(Random.withSeed(`${name} machine`)),
      120_000
    )

    const r2Faults: ReadonlyArray<R2Fault> = [
      { outcome: "unavailable" },
      { outcome: "unavailable_after" },
      { outcome: "denied" },
      { outcome: "corrupt" },
      { outcome: "short" },
      { latencyMs: 50_000 }
    ]
    const r2Operations: ReadonlyArray<R2Operation> = [
      "presignPut",
      "presignGet",
      "put",
      "get",
      "checksum",
      "delete",
      "head"
    ]
    it.effect(
      "with each transfer failing in each way",
      () =>
        Effect.gen(function* () {
          const reached = yield* inEachWay(r2Operations, r2Faults, (operation, fault) =>
            Effect.gen(function* () {
              const r2 = yield* MemoryR2
              const id = yield* prepared
              let left = 1
              yield* r2.setFaults((called) => Effect.sync(() => (called === operation && left-- > 0 ? fault : {})))
              yield* settled(Effect.exit(scenario.run(id)))
              yield* r2.clearFaults
              if (left === 1) return false
              yield* check(id).pipe(Effect.tapCause(() => Effect.logError(`${operation} ${JSON.stringify(fault)}`)))
              return true
            }).pipe(Effect.provide(layer(database())))
          )
          assert.deepStrictEqual(reached, scenario.reaches.r2)
        }).pipe(Random.withSeed(`${name} r2`)),
      120_000
    )
  })
}
