/** The bin empties: also where a create left nothing behind, and where many such rows lie in it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { migrate } from "../../src/local/fly/model/Hosts.ts"
import { createVolume } from "../../src/local/fly/model/Volumes.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { newMachine } from "../../src/programs/lifecycle/Provision.ts"
import { discard } from "../../src/programs/reconcile/Discard.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { defaultApp } from "../../src/testing/fly/FlyMemory.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, createInput, newProject, rest, settled, viewOf } from "./support.ts"

const plane = layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }) })

describe("rows without ids", () => {
  it.effect("of several creates that were refused are all gone in the end", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const world = yield* FlyWorld
      // Something to list: an empty listing proves nothing.
      yield* newProject
      yield* world.inject({ match: { operation: "createVolume" }, times: 3, fault: { kind: "capacity", status: 422 } })
      for (let n = 0; n < 3; n++) yield* settled(lifecycle.create(createInput))
      yield* world.clearFaults
      assert.strictEqual((yield* (yield* Machines).binCounts).discarded, 3)
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("refused"))
  )

  it.effect("stay while one listing is empty and the other is not: what they made may be there", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const world = yield* FlyWorld
      yield* newProject
      const { name, ...machine } = yield* newMachine("sjc")
      yield* machines.insertPool({ name, ...machine }, 1_000)
      yield* machines.discard({ name, from: ["provisioning"], reason: "its answer was lost" })
      for (const operation of ["listVolumes", "listMachines"] as const) {
        yield* world.inject({ match: { operation }, fault: { kind: "empty_list" } })
        for (let n = 0; n < 10; n++) {
          yield* settled(discard)
          yield* TestClock.adjust("5 minutes")
        }
        assert.strictEqual((yield* machines.find(name))?.status, "discarded", operation)
        yield* world.clearFaults
      }
      yield* rest
      assert.strictEqual((yield* machines.find(name))?.status, "gone")
    }).pipe(Effect.provide(plane), Random.withSeed("empty"))
  )

  it.effect("stay where they were seen since they were absent, and then both listings are empty", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const world = yield* FlyWorld
      yield* newProject
      const { name, region, ...machine } = yield* newMachine("sjc")
      yield* machines.insertPool({ name, region, ...machine }, 1_000)
      yield* machines.discard({ name, from: ["provisioning"], reason: "its answer was lost" })
      for (let n = 0; n < 2; n++) yield* settled(discard)
      assert.strictEqual((yield* machines.find(name))?.absentLooks, 2)
      yield* world.apply(createVolume(defaultApp, { name, region }))
      yield* world.inject({
        match: { operation: "deleteVolume" },
        fault: { kind: "error", status: 503, effect: "before" }
      })
      yield* settled(discard)
      yield* TestClock.adjust("30 minutes")
      for (const operation of ["listVolumes", "listMachines"] as const) {
        yield* world.inject({ match: { operation }, fault: { kind: "empty_list" } })
      }
      yield* settled(discard)
      assert.deepInclude(yield* machines.find(name), { status: "discarded", absentLooks: 0 })
      yield* world.clearFaults
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("late"))
  )

  it.effect("do not stand in the way of machines that are to be deleted", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const world = yield* FlyWorld
      const id = yield* newProject
      const machineId = (yield* viewOf(id)).machine?.machineId ?? ""
      yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant")))
      for (let n = 0; n < 60; n++) {
        const { name, ...machine } = yield* newMachine("sjc")
        yield* machines.insertPool({ name, ...machine }, 1_000)
        yield* machines.discard({ name, from: ["provisioning"], reason: "refused" })
      }
      yield* TestClock.adjust("2 minutes")
      yield* settled(discard)
      assert.strictEqual((yield* world.state).machines[machineId]?.state, "destroyed")
    }).pipe(Effect.provide(plane), Random.withSeed("crowded"))
  )
})

describe("a volume whose id changes", () => {
  it.effect("before its row is emptied goes with the row, though the listings are empty at first", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const world = yield* FlyWorld
      const id = yield* newProject
      const row = (yield* viewOf(id)).machine
      yield* newProject
      yield* world.apply(migrate(row?.machineId ?? ""))
      yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant")))
      yield* TestClock.adjust("2 minutes")
      for (const operation of ["listVolumes", "listMachines"] as const) {
        yield* world.inject({ match: { operation }, fault: { kind: "empty_list" } })
      }
      yield* settled(discard)
      assert.strictEqual((yield* machines.living).find(({ name }) => name === row?.name)?.status, "discarded")
      yield* world.clearFaults
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("moved before"))
  )

  it.effect("while its row is emptied goes with the row, and not before", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const world = yield* FlyWorld
      const id = yield* newProject
      const row = (yield* viewOf(id)).machine
      const machineId = row?.machineId ?? ""
      yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.sleep(id, "dormant")))
      yield* TestClock.adjust("2 minutes")
      yield* world.inject({ match: { operation: "deleteMachine" }, fault: { kind: "latency", ms: 5_000 } })
      const moving = Effect.andThen(Effect.sleep("2 seconds"), world.apply(migrate(machineId)))
      yield* settled(Effect.all([discard, moving], { concurrency: "unbounded" }))
      yield* world.clearFaults
      const volumes = Effect.map(world.state, ({ volumes }) =>
        Object.values(volumes).filter(({ deletedAt, name }) => deletedAt === null && name === row?.name)
      )
      assert.lengthOf(yield* volumes, 1)
      assert.notStrictEqual((yield* volumes)[0]?.id, row?.volumeId)
      assert.strictEqual((yield* machines.living).find(({ name }) => name === row?.name)?.status, "discarded")
      yield* rest
      assert.lengthOf(yield* volumes, 0)
      yield* atRest
    }).pipe(Effect.provide(plane), Random.withSeed("moved"))
  )
})
