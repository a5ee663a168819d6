/** What every implementation of `Fly` does, as a function of its layer. Time is the world's own: nothing takes long in it. */
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { machineConfig, type MachineConfig } from "../../../src/contract/MachineConfig.ts"
import type { FlyWorld } from "../../../src/local/fly/FlyWorld.ts"
import { Fly } from "../../../src/services/fly/Fly.ts"
import type { FlyError } from "../../../src/services/fly/FlyError.ts"

const guest = { cpu_kind: "shared", cpus: 1, memory_mb: 256 } as const
/** Ample for a world in which everything happens at once. */
const SOON_MS = 10_000

export const configOf = (name: string, volumeId: string): MachineConfig =>
  machineConfig({
    image: "registry.example/project:1",
    size: "shared-cpu-1x",
    memoryMb: 256,
    volumeId,
    name,
    planeId: "plane-1",
    internalSecret: "machine-secret",
    idleSuspend: "self"
  })

export const volumeFor = (name: string) =>
  Effect.flatMap(Fly, (fly) => fly.createVolume({ name, region: "sjc", sizeGb: 1, compute: guest }))

/** A volume and a started machine on it. */
export const pairFor = Effect.fnUntraced(function* (name: string) {
  const fly = yield* Fly
  const volume = yield* volumeFor(name)
  const machine = yield* fly.createMachine({ name, region: "sjc", config: configOf(name, volume.id) })
  yield* fly.waitForMachine(machine.id, SOON_MS)
  return { fly, volume, machine }
})

const reason = <A>(effect: Effect.Effect<A, FlyError>) => Effect.map(Effect.flip(effect), (error) => error.reason)

export const suite = <E>(name: string, live: Layer.Layer<Fly | FlyWorld, E>) =>
  describe(`Fly: ${name}`, () => {
    layer(live, { excludeTestServices: true })((it) => {
      it.effect("a machine on its volume, from creation to the end", () =>
        Effect.gen(function* () {
          const { fly, volume, machine } = yield* pairFor("life")
          const started = yield* fly.getMachine(machine.id)
          assert.strictEqual(started.state, "started")
          assert.strictEqual(started.name, "life")
          assert.strictEqual(started.region, "sjc")
          assert.strictEqual(started.volumeId, volume.id)
          assert.strictEqual(started.image, "registry.example/project:1")
          assert.strictEqual(started.hostStatus, "ok")
          assert.isString(started.privateIp)
          assert.deepStrictEqual(started.metadata, { valet_plane: "plane-1", valet_name: "life" })
          assert.strictEqual((yield* fly.getVolume(volume.id)).attachedMachineId, machine.id)

          yield* fly.suspendMachine(machine.id)
          yield* fly.waitForState(machine.id, "suspended", SOON_MS)
          yield* fly.startMachine(machine.id)
          yield* fly.waitForState(machine.id, "started", SOON_MS)
          yield* fly.stopMachine(machine.id)
          yield* fly.waitForState(machine.id, "stopped", SOON_MS)
          assert.strictEqual((yield* fly.getMachine(machine.id)).state, "stopped")

          assert.strictEqual((yield* reason(fly.deleteVolume(volume.id)))._tag, "Conflict")
          yield* fly.deleteMachine(machine.id)
          yield* fly.waitForState(machine.id, "destroyed", SOON_MS)
          assert.strictEqual((yield* fly.getMachine(machine.id)).state, "destroyed")
          assert.isFalse((yield* fly.listMachines).some(({ id }) => id === machine.id))
          yield* fly.deleteVolume(volume.id)
          assert.isFalse((yield* fly.listVolumes).some(({ id }) => id === volume.id))
        })
      )

      it.effect("deleting twice succeeds, a started machine included", () =>
        Effect.gen(function* () {
          const { fly, volume, machine } = yield* pairFor("twice")
          yield* fly.deleteMachine(machine.id)
          yield* fly.waitForState(machine.id, "destroyed", SOON_MS)
          yield* fly.deleteMachine(machine.id)
          yield* fly.deleteVolume(volume.id)
          yield* fly.deleteVolume(volume.id)
          yield* fly.deleteMachine("0000000000nope")
          yield* fly.deleteVolume("vol_nope")
        })
      )

      it.effect("starting what is started, stopping what is stopped succeeds", () =>
        Effect.gen(function* () {
          const { fly, machine } = yield* pairFor("again")
          yield* fly.startMachine(machine.id)
          yield* fly.stopMachine(machine.id)
          yield* fly.waitForState(machine.id, "stopped", SOON_MS)
          yield* fly.stopMachine(machine.id)
        })
      )

      it.effect("what does not exist is NotFound, and destroyed when waited for", () =>
        Effect.gen(function* () {
          const fly = yield* Fly
          assert.strictEqual((yield* reason(fly.getMachine("0000000000nope")))._tag, "NotFound")
          assert.strictEqual((yield* reason(fly.startMachine("0000000000nope")))._tag, "NotFound")
          assert.strictEqual((yield* reason(fly.getVolume("vol_nope")))._tag, "NotFound")
          assert.strictEqual((yield* reason(fly.waitForMachine("0000000000nope", SOON_MS)))._tag, "NotFound")
          yield* fly.waitForState("0000000000nope", "destroyed", SOON_MS)
          const onNothing = fly.createMachine({ name: "bare", region: "sjc", config: configOf("bare", "vol_nope") })
          assert.strictEqual((yield* reason(onNothing))._tag, "NotFound")
        })
      )

      it.effect("a name that another machine has is a Conflict that tells its id", () =>
        Effect.gen(function* () {
          const { fly, machine } = yield* pairFor("taken")
          const other = yield* volumeFor("taken2")
          const config = configOf("taken", other.id)
          const conflict = yield* reason(fly.createMachine({ name: "taken", region: "sjc", config }))
          assert.isTrue(conflict._tag === "Conflict" && conflict.existingId === machine.id)
        })
      )

      it.effect("a volume carries one machine", () =>
        Effect.gen(function* () {
          const { fly, volume } = yield* pairFor("bound")
          const config = configOf("second", volume.id)
          assert.strictEqual(
            (yield* reason(fly.createMachine({ name: "second", region: "sjc", config })))._tag,
            "Conflict"
          )
        })
      )

      it.effect("volumes of one name are different volumes", () =>
        Effect.gen(function* () {
          const first = yield* volumeFor("same")
          const second = yield* volumeFor("same")
          assert.notStrictEqual(first.id, second.id)
          const named = (yield* (yield* Fly).listVolumes).filter(({ name }) => name === "same")
          assert.strictEqual(named.length, 2)
        })
      )

      it.effect("a fork is a volume of its own", () =>
        Effect.gen(function* () {
          const fly = yield* Fly
          const source = yield* volumeFor("source")
          const forked = yield* fly.createVolume({
            name: "forked",
            region: "sjc",
            sizeGb: 1,
            compute: guest,
            sourceVolumeId: source.id
          })
          assert.notStrictEqual(forked.id, source.id)
          assert.strictEqual(forked.sizeGb, 1)
          assert.deepStrictEqual(yield* fly.listSnapshots(source.id), [])
        })
      )

      it.effect("an update replaces the configuration and makes a new version", () =>
        Effect.gen(function* () {
          const { fly, volume, machine } = yield* pairFor("updated")
          const config = { ...configOf("updated", volume.id), image: "registry.example/project:2" }
          yield* fly.updateMachine(machine.id, config)
          yield* fly.waitForMachine(machine.id, SOON_MS)
          const updated = yield* fly.getMachine(machine.id)
          assert.strictEqual(updated.image, "registry.example/project:2")
          assert.notStrictEqual(updated.instanceId, machine.instanceId)
        })
      )

      it.effect("metadata is read and set key by key", () =>
        Effect.gen(function* () {
          const { fly, machine } = yield* pairFor("noted")
          yield* fly.setMetadata(machine.id, "note", "a b/c")
          assert.deepStrictEqual(yield* fly.getMetadata(machine.id), {
            valet_plane: "plane-1",
            valet_name: "noted",
            note: "a b/c"
          })
        })
      )

      it.effect("a wait for what does not come ends at its time", () =>
        Effect.gen(function* () {
          const { fly, machine } = yield* pairFor("waiting")
          assert.strictEqual((yield* reason(fly.waitForState(machine.id, "stopped", 1_200)))._tag, "WaitTimeout")
        })
      )

      it.effect("listings hold what there is", () =>
        Effect.gen(function* () {
          const { fly, volume, machine } = yield* pairFor("listed")
          const listed = (yield* fly.listMachines).find(({ id }) => id === machine.id)
          assert.strictEqual(listed?.name, "listed")
          assert.strictEqual(listed?.volumeId, volume.id)
          assert.deepStrictEqual(listed?.metadata, { valet_plane: "plane-1", valet_name: "listed" })
          const kept = (yield* fly.listVolumes).find(({ id }) => id === volume.id)
          assert.strictEqual(kept?.attachedMachineId, machine.id)
        })
      )
    })
  })
