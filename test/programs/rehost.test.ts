/** A machine that is gone, a volume that moved, is full, blank or out of reach: the newest data is served, or none. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { instantDelays } from "../../src/local/fly/model/FlyState.ts"
import { migrate } from "../../src/local/fly/model/Hosts.ts"
import { createMachine, deleteMachine } from "../../src/local/fly/model/Machines.ts"
import { createSnapshot } from "../../src/local/fly/model/Snapshots.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { destroyed } from "../../src/programs/lifecycle/Gone.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { StepHook } from "../../src/programs/lifecycle/Steps.ts"
import { discard } from "../../src/programs/reconcile/Discard.ts"
import { observe } from "../../src/programs/reconcile/Observe.ts"
import { MachineClient } from "../../src/services/machine/MachineClient.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { defaultApp } from "../../src/testing/fly/FlyMemory.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import type { StoreFault } from "../../src/testing/memory/StoreFaults.ts"
import { StoreFaults } from "../../src/testing/memory/StoreFaults.ts"
import type { TestPlaneOptions } from "../../src/testing/TestPlane.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, lose, newProject, read, rest, settled, viewOf } from "./support.ts"

const plane = (options: TestPlaneOptions = {}) =>
  layerTestPlane({ config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }), ...options })

const heal = (id: Parameters<typeof viewOf>[0]) =>
  settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 20 * 60_000 })))

const write = (id: Parameters<typeof viewOf>[0], value: string) =>
  Effect.gen(function* () {
    const machineId = (yield* viewOf(id)).machine?.machineId ?? ""
    const answer = yield* (yield* FakeMachines).request({ machineId, projectId: id, document: "kept", write: value })
    assert.strictEqual(answer._tag, "Acknowledged")
  })

/** Fly forgets the machine at once; its volume stays as it is. */
const forget = (machineId: string) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    yield* world.apply(deleteMachine(defaultApp, machineId, undefined, true))
    yield* TestClock.adjust("10 minutes")
  })

describe("a machine that Fly makes only after it was given up", () => {
  it.effect("and that holds the volume goes, so that the project is served again", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      const { machine } = yield* viewOf(id)
      const made = (yield* world.state).machines[machine?.machineId ?? ""]
      assert.isDefined(made)
      yield* forget(made.id)
      const { config, name, region } = made
      const late = yield* world.apply(createMachine(defaultApp, { name, region, config }))
      yield* TestClock.adjust("1 minute")
      yield* heal(id)
      const after = yield* viewOf(id)
      assert.strictEqual(after.machine?.volumeId, machine?.volumeId)
      assert.notInclude([made.id, late.id], after.machine?.machineId)
      assert.strictEqual(yield* read(id), "precious")
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane()))
  )
})

describe("a fork", () => {
  it.effect("of a volume on a full host serves the same data; the source goes when the fork holds all of it", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      const before = yield* viewOf(id)
      yield* forget(before.machine?.machineId ?? "")
      yield* world.inject({
        match: { operation: "createMachine" },
        times: 1,
        fault: { kind: "capacity", status: 412 }
      })
      yield* heal(id)
      const after = yield* viewOf(id)
      assert.notStrictEqual(after.machine?.volumeId, before.machine?.volumeId)
      assert.strictEqual(yield* read(id), "precious")
      const state = (id: string | null | undefined) =>
        Effect.map(world.state, ({ volumes }) => volumes[id ?? ""]?.state ?? "gone")
      assert.strictEqual(yield* state(after.machine?.volumeId), "hydrating")
      yield* settled(discard)
      assert.strictEqual(yield* state(before.machine?.volumeId), "created", "what it is filled from stays")
      yield* TestClock.adjust("2 hours")
      yield* settled(discard)
      assert.strictEqual(yield* state(before.machine?.volumeId), "pending_destroy")
      yield* rest
      yield* atRest
    }).pipe(
      Effect.provide(
        plane({
          fly: { params: { delays: { ...instantDelays, volumeCopyMs: 60 * 60_000 } } }
        })
      ),
      Random.withSeed("fork")
    )
  )
})

describe("a volume", () => {
  it.effect("that Fly moved to another host is followed before anything is called gone", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      const machineId = (yield* viewOf(id)).machine?.machineId ?? ""
      yield* world.apply(migrate(machineId))
      yield* TestClock.adjust("1 second")
      yield* (yield* FakeMachines).setFaults((_, target) =>
        Effect.succeed(target === machineId ? { outcome: "unreachable" as const } : {})
      )
      yield* heal(id)
      const after = yield* viewOf(id)
      assert.deepStrictEqual([after.project.state, after.project.dataUnavailable], ["active", false])
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("moved"))
  )

  it.effect("that Fly moved before its machine was lost is found by its name", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      const before = (yield* viewOf(id)).machine
      const machineId = before?.machineId ?? ""
      yield* world.apply(migrate(machineId))
      yield* TestClock.adjust("1 second")
      yield* lose(machineId, "machine")
      yield* heal(id)
      const after = (yield* viewOf(id)).machine
      assert.notStrictEqual(after?.volumeId, before?.volumeId)
      assert.strictEqual(yield* read(id), "precious")
      const events = yield* (yield* Projects).events({ projectId: id, limit: 50, before: null })
      const moved = events.find(({ kind }) => kind === "volume_moved")
      assert.deepInclude(moved?.detail, { from: before?.volumeId, to: after?.volumeId })
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane()), Random.withSeed("moved unseen"))
  )

  it.effect("that Fly moved unseen is not called gone because a listing shows none", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      yield* newProject
      const machineId = (yield* viewOf(id)).machine?.machineId ?? ""
      yield* world.apply(migrate(machineId))
      yield* TestClock.adjust("1 second")
      yield* lose(machineId, "machine")
      for (const times of [1, 4]) {
        yield* world.inject({ match: { operation: "listVolumes" }, times, fault: { kind: "empty_list" } })
        yield* Effect.exit(heal(id))
        assert.isFalse((yield* viewOf(id)).project.dataUnavailable)
      }
      yield* world.clearFaults
      yield* TestClock.adjust("10 minutes")
      yield* heal(id)
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("moved unlisted"))
  )

  it.effect("that Fly moved and lost with its machine is gone, whatever is left where it was", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      const id = yield* newProject
      const machineId = (yield* viewOf(id)).machine?.machineId ?? ""
      yield* world.apply(migrate(machineId))
      yield* TestClock.adjust("1 second")
      yield* lose(machineId, "both")
      yield* Effect.exit(heal(id))
      assert.isTrue((yield* viewOf(id)).project.dataUnavailable)
    }).pipe(Effect.provide(plane()), Random.withSeed("moved and lost"))
  )

  it.effect("without the project's data is never served as if it were the project's", () =>
    Effect.gen(function* () {
      const servers = yield* FakeMachines
      const id = yield* newProject
      const before = yield* viewOf(id)
      yield* servers.destroyVolume(before.machine?.volumeId ?? "")
      yield* forget(before.machine?.machineId ?? "")
      yield* Effect.exit(heal(id))
      const after = yield* viewOf(id)
      assert.isTrue(after.project.dataUnavailable)
    }).pipe(Effect.provide(plane()), Random.withSeed("blank"))
  )
})

describe("a rehost", () => {
  it.effect("is not held up by another project's server that has got the lost machine's address", () =>
    Effect.gen(function* () {
      const id = yield* newProject
      const { machine: row } = yield* viewOf(id)
      if (row === null) return assert.fail("it has a machine")
      yield* forget(row.machineId ?? "")
      const client = yield* MachineClient
      const answers = (project_id: string) =>
        MachineClient.of({
          ...client,
          health: () => Effect.succeed({ status: "ok", project_id, generation: 1, connections: 0, sealed: false })
        })
      const gone = (project_id: string) =>
        settled(destroyed(row).pipe(Effect.provideService(MachineClient, answers(project_id))))
      assert.isTrue(yield* gone("another"))
      assert.isFalse(yield* gone(id))
    }).pipe(Effect.provide(plane()), Random.withSeed("address"))
  )

  it.effect("does not wait for the backoff of an archive that failed for want of the machine", () =>
    Effect.gen(function* () {
      const id = yield* newProject
      yield* lose((yield* viewOf(id)).machine?.machineId ?? "", "machine")
      for (let attempt = 0; attempt < 5; attempt++) yield* settled(Effect.exit(archive(id, { force: true })))
      yield* heal(id)
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("archive first"))
  )

  for (const kind of ["drop", "late"] as const) {
    it.effect(`whose create of a machine had an unknown outcome (${kind}) goes on with that machine`, () =>
      Effect.gen(function* () {
        const world = yield* FlyWorld
        const id = yield* newProject
        yield* lose((yield* viewOf(id)).machine?.machineId ?? "", "machine")
        yield* world.inject({
          match: { operation: "createMachine" },
          times: 1,
          fault: kind === "drop" ? { kind, effect: "after" } : { kind, ms: 2_000 }
        })
        yield* Effect.exit(heal(id))
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(yield* read(id), "precious")
        yield* rest
        yield* atRest
      }).pipe(Effect.provide(plane()), Random.withSeed(`unknown ${kind}`))
    )
  }
})

describe("an operator's recovery from a snapshot", () => {
  const lost = { failRehost: false }
  const faults = (operation: string) =>
    Effect.sync((): StoreFault => (operation === "failRehost" && lost.failRehost ? "before" : "none"))

  const unavailable = Effect.gen(function* () {
    const world = yield* FlyWorld
    const id = yield* newProject
    const view = yield* viewOf(id)
    yield* world.apply(createSnapshot(defaultApp, view.machine?.volumeId ?? ""))
    yield* write(id, "newer than the snapshot")
    yield* lose(view.machine?.machineId ?? "", "both")
    yield* Effect.exit(heal(id))
    assert.isTrue((yield* viewOf(id)).project.dataUnavailable)
    return id
  })

  it.effect("is waited for without looking for the lost machine every minute", () =>
    Effect.gen(function* () {
      const world = yield* FlyWorld
      yield* unavailable
      yield* TestClock.adjust("10 minutes")
      yield* world.resetCalls
      assert.strictEqual((yield* settled(observe)).missing, 0)
      assert.strictEqual(yield* world.callCount("getMachine"), 0)
    }).pipe(Effect.provide(plane()), Random.withSeed("not looked for"))
  )

  it.effect("serves the snapshot, and keeps the row of the lost volume", () =>
    Effect.gen(function* () {
      const id = yield* unavailable
      const before = yield* viewOf(id)
      yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.recover(id, "snapshot")))
      assert.strictEqual(yield* read(id), "precious")
      const old = before.machine === null ? null : yield* (yield* Machines).find(before.machine.name)
      assert.deepInclude(old, { status: "discarded", released: false })
    }).pipe(Effect.provide(plane()), Random.withSeed("snapshot"))
  )

  it.effect("whose owner dies leaves data_unavailable, not an operation without an end", () =>
    Effect.gen(function* () {
      const id = yield* unavailable
      lost.failRehost = true
      const cut =
        (_: string, step: string) =>
        <A, E, R>(run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
          step === "make" ? Effect.interrupt : run
      yield* settled(
        Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.recover(id, "snapshot")).pipe(
          Effect.provideService(StepHook, cut),
          Effect.exit
        )
      )
      lost.failRehost = false
      assert.strictEqual((yield* viewOf(id)).project.operation, "rehosting")
      yield* rest
      const { project } = yield* viewOf(id)
      assert.deepStrictEqual([project.operation, project.dataUnavailable], ["none", true])
      yield* settled(Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.recover(id, "snapshot")))
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(
      Effect.provide(plane().pipe(Layer.provide(Layer.succeed(StoreFaults, faults)))),
      Random.withSeed("dead operator")
    )
  )
})
