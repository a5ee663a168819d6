/** The live client where the local Fly fails: what was asked happens once, or is said not to have. */
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { FlyWorld } from "../../../src/local/fly/FlyWorld.ts"
import type { Fault } from "../../../src/local/fly/model/Faults.ts"
import type { Operation } from "../../../src/local/fly/model/Operations.ts"
import { Fly } from "../../../src/services/fly/Fly.ts"
import * as LocalFly from "./localFly.ts"
import { configOf, volumeFor } from "./suite.ts"

/**
 * Runs a test over real sockets while the TestClock goes on at most 25 times as fast as real time: slow enough that no
 * limit of the client ends before an answer from loopback is in.
 */
const timed = Effect.fnUntraced(function* <A, E, R>(test: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(test)
  for (let step = 0; step < 4_000 && fiber.pollUnsafe() === undefined; step++) {
    yield* TestClock.adjust("50 millis")
    yield* TestClock.withLive(Effect.sleep("2 millis"))
  }
  return yield* Fiber.join(fiber)
})

const injected = (operation: Operation, fault: Fault, times = 1) =>
  Effect.flatMap(FlyWorld, (world) => world.inject({ match: { operation }, times, fault }))

const machinesNamed = (name: string) =>
  Effect.flatMap(Fly, (fly) => Effect.map(fly.listMachines, (all) => all.filter((machine) => machine.name === name)))

const volumesNamed = (name: string) =>
  Effect.flatMap(Fly, (fly) => Effect.map(fly.listVolumes, (all) => all.filter((volume) => volume.name === name)))

const created = Effect.fnUntraced(function* (name: string) {
  const volume = yield* volumeFor(`${name}v`)
  return yield* (yield* Fly).createMachine({ name, region: "sjc", config: configOf(name, volume.id) })
})

const ambiguous: ReadonlyArray<readonly [name: string, fault: Fault]> = [
  ["dropbefore", { kind: "drop", effect: "before" }],
  ["dropafter", { kind: "drop", effect: "after" }],
  ["timeoutbefore", { kind: "timeout", effect: "before" }],
  ["timeoutafter", { kind: "timeout", effect: "after" }],
  ["errorafter", { kind: "error", status: 500, effect: "after" }],
  ["late", { kind: "late", ms: 1_500 }]
]

layer(LocalFly.layer)("Fly over HTTP under faults", (it) => {
  describe("creates", () => {
    it.effect.each(ambiguous)("%s: one machine", ([name, fault]) =>
      Effect.gen(function* () {
        yield* injected("createMachine", fault)
        const machine = yield* created(name)
        assert.deepStrictEqual(
          (yield* machinesNamed(name)).map(({ id }) => id),
          [machine.id]
        )
      }).pipe(timed)
    )

    it.effect.each(ambiguous)("%s: one volume", ([name, fault]) =>
      Effect.gen(function* () {
        yield* injected("createVolume", fault)
        const volume = yield* volumeFor(`only${name}`)
        assert.deepStrictEqual(
          (yield* volumesNamed(`only${name}`)).map(({ id }) => id),
          [volume.id]
        )
      }).pipe(timed)
    )

    it.effect("an empty listing while looking makes no second machine", () =>
      Effect.gen(function* () {
        yield* injected("createMachine", { kind: "drop", effect: "after" })
        yield* injected("listMachines", { kind: "empty_list" }, 4)
        const machine = yield* created("unseen")
        assert.deepStrictEqual(
          (yield* machinesNamed("unseen")).map(({ id }) => id),
          [machine.id]
        )
      }).pipe(timed)
    )

    it.effect("a full region is told apart", () =>
      Effect.gen(function* () {
        yield* injected("createVolume", { kind: "capacity", status: 422 })
        const error = yield* Effect.flip(volumeFor("full"))
        assert.isTrue(error.reason._tag === "Capacity" && error.reason.scope === "region")
        assert.deepStrictEqual(yield* volumesNamed("full"), [])
      }).pipe(timed)
    )
  })

  it.effect("actions go through broken connections, refusals and limits", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const machine = yield* created("acted")
      yield* fly.waitForMachine(machine.id, 5_000)
      yield* injected("suspendMachine", { kind: "drop", effect: "after" })
      yield* fly.suspendMachine(machine.id)
      yield* injected("startMachine", { kind: "error", status: 503, effect: "before" }, 2)
      yield* fly.startMachine(machine.id)
      yield* injected("getMachine", { kind: "rate_limit", retry_after_seconds: 1 })
      yield* fly.waitForState(machine.id, "started", 5_000)
      assert.strictEqual((yield* fly.getMachine(machine.id)).state, "started")
      yield* injected("deleteMachine", { kind: "drop", effect: "after" })
      yield* fly.deleteMachine(machine.id)
      yield* fly.waitForState(machine.id, "destroyed", 5_000)
    }).pipe(timed)
  )

  it.effect("an update that may have happened is not repeated", () =>
    Effect.gen(function* () {
      const fly = yield* Fly
      const machine = yield* created("updated2")
      yield* injected("updateMachine", { kind: "drop", effect: "after" })
      const config = configOf("updated2", machine.volumeId ?? "")
      const error = yield* Effect.flip(fly.updateMachine(machine.id, config))
      assert.strictEqual(error.reason._tag, "UnknownOutcome")
      assert.notStrictEqual((yield* fly.getMachine(machine.id)).instanceId, machine.instanceId)
    }).pipe(timed)
  )
})
