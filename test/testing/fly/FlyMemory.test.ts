import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { machineConfig } from "../../../src/contract/MachineConfig.ts"
import { FlyWorld } from "../../../src/local/fly/FlyWorld.ts"
import type { Fault } from "../../../src/local/fly/model/Faults.ts"
import { instantDelays, realisticDelays } from "../../../src/local/fly/model/FlyState.ts"
import { loseHost, restoreHost } from "../../../src/local/fly/model/Hosts.ts"
import { Fly } from "../../../src/services/fly/Fly.ts"
import * as FlyMemory from "../../../src/testing/fly/FlyMemory.ts"

const guest = { cpu_kind: "shared", cpus: 1, memory_mb: 256 } as const
const volume = { name: "one", region: "ams", sizeGb: 1, compute: guest }
const config = (volumeId: string) =>
  machineConfig({
    image: "image:1",
    size: "shared-cpu-1x",
    memoryMb: 256,
    volumeId,
    name: "one",
    planeId: "plane",
    internalSecret: "secret",
    idleSuspend: "self"
  })

const pair = Effect.gen(function* () {
  const fly = yield* Fly
  const { id } = yield* fly.createVolume(volume)
  const machine = yield* fly.createMachine({ name: "one", region: "ams", config: config(id) })
  return { volumeId: id, machineId: machine.id }
})

describe("Fly in memory", () => {
  it.effect("a whole life of a machine and its volume", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const { machineId, volumeId } = yield* pair
      yield* fly.waitForMachine(machineId, 1_000)
      const machine = yield* fly.getMachine(machineId)
      assert.deepInclude(machine, { state: "started", region: "ams", volumeId, hostStatus: "ok", image: "image:1" })
      assert.deepStrictEqual(yield* fly.getMetadata(machineId), { valet_plane: "plane", valet_name: "one" })
      yield* fly.setMetadata(machineId, "a", "b")
      assert.strictEqual((yield* fly.getMachine(machineId)).metadata["a"], "b")
      yield* fly.suspendMachine(machineId)
      yield* fly.waitForState(machineId, "suspended", 1_000)
      yield* fly.startMachine(machineId)
      yield* fly.stopMachine(machineId)
      yield* fly.waitForState(machineId, "stopped", 1_000)
      assert.strictEqual((yield* Effect.flip(fly.deleteVolume(volumeId))).reason._tag, "Conflict")
      yield* fly.deleteMachine(machineId)
      yield* fly.waitForState(machineId, "destroyed", 1_000)
      yield* fly.deleteMachine(machineId)
      yield* fly.deleteVolume(volumeId)
      assert.deepStrictEqual(yield* fly.listVolumes, [])
      assert.deepStrictEqual(yield* fly.listMachines, [])
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("takes the time that Fly takes", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const { machineId } = yield* pair
      assert.strictEqual((yield* Effect.flip(fly.startMachine(machineId))).reason._tag, "Transient")
      const waiting = yield* Effect.forkChild(fly.waitForMachine(machineId, 60_000))
      const tooShort = yield* Effect.forkChild(Effect.flip(fly.waitForMachine(machineId, 1_000)))
      // In steps, so that each fiber reaches its sleep before the time that it waits for is over.
      for (let i = 0; i < 15; i++) yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(tooShort)).reason._tag, "WaitTimeout")
      assert.isUndefined(waiting.pollUnsafe())
      for (let i = 0; i < 50; i++) yield* TestClock.adjust("100 millis")
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(FlyMemory.layer({ params: { delays: realisticDelays } })))
  )

  it.effect("counts calls, so that a test can say that there was none", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      yield* pair
      assert.strictEqual(yield* world.callCount(), 2)
      assert.strictEqual(yield* world.callCount("createMachine"), 1)
      yield* world.resetCalls
      assert.strictEqual(yield* world.callCount(), 0)
      yield* fly.listMachines
      assert.deepStrictEqual([...(yield* world.calls)], [["listMachines", 1]])
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect.each([
    { fault: { kind: "capacity", status: 422 }, reason: "Capacity", made: 0 },
    { fault: { kind: "capacity", status: 409 }, reason: "Capacity", made: 0 },
    { fault: { kind: "capacity", status: 412 }, reason: "Capacity", made: 0 },
    { fault: { kind: "rate_limit" }, reason: "RateLimited", made: 0 },
    { fault: { kind: "timeout", effect: "before" }, reason: "UnknownOutcome", made: 0 },
    { fault: { kind: "timeout", effect: "after" }, reason: "UnknownOutcome", made: 1 },
    { fault: { kind: "error", status: 502, effect: "before" }, reason: "UnknownOutcome", made: 0 },
    { fault: { kind: "error", status: 502, effect: "after" }, reason: "UnknownOutcome", made: 1 },
    { fault: { kind: "error", status: 503, effect: "before" }, reason: "Transient", made: 0 },
    { fault: { kind: "drop", effect: "before" }, reason: "UnknownOutcome", made: 0 },
    { fault: { kind: "drop", effect: "after" }, reason: "UnknownOutcome", made: 1 }
  ] satisfies ReadonlyArray<{ fault: Fault; reason: string; made: number }>)(
    "fault $fault.kind $fault.status $fault.effect → $reason",
    ({ fault, made, reason }) =>
      Effect.gen(function* () {
        const fly = yield* Fly
        const world = yield* FlyWorld
        yield* world.inject({ match: { operation: "createVolume" }, times: 1, fault })
        assert.strictEqual((yield* Effect.flip(fly.createVolume(volume))).reason._tag, reason)
        assert.strictEqual((yield* fly.listVolumes).length, made)
        yield* fly.createVolume(volume)
      }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("what comes late happens after the caller was told nothing", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      yield* world.inject({ match: { operation: "createVolume" }, fault: { kind: "late", ms: 60_000 } })
      assert.strictEqual((yield* Effect.flip(fly.createVolume(volume))).reason._tag, "UnknownOutcome")
      assert.deepStrictEqual(yield* fly.listVolumes, [])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* fly.listVolumes).length, 1)
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("rules match the nth call, a region, a target, and by chance the same way for one seed", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      const { machineId } = yield* pair
      const error: Fault = { kind: "error", status: 503, effect: "before" }
      yield* world.inject(
        { match: { operation: "getMachine", target: machineId, nth: 2 }, fault: error },
        { match: { operation: "createVolume", region: "iad" }, fault: { kind: "capacity", status: 422 } },
        { match: { operation: "listMachines" }, fault: { kind: "empty_list" } }
      )
      yield* fly.getMachine(machineId)
      yield* Effect.flip(fly.getMachine(machineId))
      yield* fly.getMachine(machineId)
      yield* fly.createVolume(volume)
      yield* Effect.flip(fly.createVolume({ ...volume, region: "iad" }))
      assert.deepStrictEqual(yield* fly.listMachines, [])
      yield* world.clearFaults
      assert.strictEqual((yield* fly.listMachines).length, 1)
      yield* world.inject({ match: { operation: "getMachine", probability: 0.5 }, fault: error })
      const failures = yield* Effect.forEach(Array.from({ length: 40 }), () =>
        Effect.isFailure(Effect.asVoid(fly.getMachine(machineId)))
      )
      const count = failures.filter((failed) => failed).length
      assert.isTrue(count > 8 && count < 32, `${count} of 40`)
    }).pipe(Effect.provide(FlyMemory.layer({ seed: 3 })))
  )

  it.effect("latency is time on the clock; beyond the client's limit the outcome is unknown", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      yield* world.inject({ match: {}, times: 1, fault: { kind: "latency", ms: 5_000 } })
      const slow = yield* Effect.forkChild(fly.createVolume(volume))
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(slow.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(slow)
      yield* world.inject({ match: {}, times: 1, fault: { kind: "latency", ms: 3_600_000 } })
      const lost = yield* Effect.forkChild(Effect.flip(fly.createVolume(volume)))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(lost)).reason._tag, "UnknownOutcome")
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("the request budget refuses, and time refills it", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      for (let i = 0; i < 3; i++) yield* fly.createVolume(volume)
      assert.strictEqual((yield* Effect.flip(fly.createVolume(volume))).reason._tag, "RateLimited")
      yield* TestClock.adjust("1 second")
      yield* fly.createVolume(volume)
    }).pipe(Effect.provide(FlyMemory.layer({ params: { rateLimits: true } })))
  )

  it.effect("a host out of reach and back", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      const { machineId, volumeId } = yield* pair
      const host = (yield* world.state).machines[machineId]?.host ?? ""
      yield* world.apply(loseHost(host, "unreachable"))
      assert.strictEqual((yield* fly.getMachine(machineId)).hostStatus, "unreachable")
      assert.strictEqual((yield* fly.getVolume(volumeId)).hostStatus, "unreachable")
      assert.strictEqual((yield* Effect.flip(fly.suspendMachine(machineId))).reason._tag, "Transient")
      yield* world.apply(restoreHost(host))
      yield* fly.suspendMachine(machineId)
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("Fly's clock can be ahead", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const world = yield* FlyWorld
      const { id } = yield* fly.createVolume(volume)
      yield* fly.deleteVolume(id)
      assert.strictEqual((yield* fly.getVolume(id)).state, "pending_destroy")
      yield* world.advance(24 * 3_600_000)
      assert.strictEqual((yield* Effect.flip(fly.getVolume(id))).reason._tag, "NotFound")
    }).pipe(Effect.provide(FlyMemory.layer()))
  )

  it.effect("tells its host what to run, in order, also when nobody calls", () => {
    const told: Array<string> = []
    return Effect.gen(function* () {
      const fly = yield* Fly
      const { machineId } = yield* pair
      yield* TestClock.adjust("1 second")
      yield* fly.suspendMachine(machineId)
      yield* fly.deleteMachine(machineId)
      assert.deepStrictEqual(told, ["VolumeCreated", "Boot", "Suspend", "Kill"])
    }).pipe(
      Effect.provide(
        FlyMemory.layer({
          params: { delays: { ...instantDelays, prepareMs: 500 } },
          host: (action) => Effect.sync(() => told.push(action._tag))
        })
      )
    )
  })
})
