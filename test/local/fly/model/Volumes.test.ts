import { assert, describe, it } from "@effect/vitest"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import { createSnapshot, listSnapshots } from "../../../../src/local/fly/model/Snapshots.ts"
import * as Volumes from "../../../../src/local/fly/model/Volumes.ts"
import { app, makeWorld, image, create, volume } from "./World.ts"

describe("volumes", () => {
  const mount = (id: string) => ({ mounts: [{ volume: id, path: "/data" }] })

  it("one volume, one machine; its region and host are the machine's", () => {
    const world = makeWorld()
    const data = volume(world)
    const machine = create(world, mount(data.id))
    assert.strictEqual(machine.region, "ams")
    assert.strictEqual(machine.host, data.host)
    const second = world.refused(Machines.createMachine(app, { config: { image, ...mount(data.id) } }))
    assert.deepStrictEqual([second.status, second.message], [412, `volume already claimed by machine ${machine.id}`])
    assert.strictEqual(
      world.refused(Volumes.deleteVolume(app, data.id)).message,
      `failed_precondition: volume is currently bound to machine: ${machine.id}`
    )
  })

  it("stays bound while its machine is stopped, and is soft-deleted for a day", () => {
    const world = makeWorld()
    const data = volume(world)
    const { id } = create(world, mount(data.id))
    world.ok(Machines.stopMachine(app, id, undefined))
    assert.strictEqual(world.refused(Volumes.deleteVolume(app, data.id)).status, 412)
    world.ok(Machines.deleteMachine(app, id, undefined, false))
    assert.strictEqual(world.ok(Volumes.deleteVolume(app, data.id)).state, "pending_destroy")
    assert.strictEqual(
      world.refused(Machines.createMachine(app, { config: { image, ...mount(data.id) } })).message,
      "volume not found"
    )
    world.pass(24 * 3_600_000)
    assert.strictEqual(world.refused(Volumes.getVolume(app, data.id)).status, 404)
    assert.deepStrictEqual(world.actions.at(-1), { _tag: "VolumeGone", volumeId: data.id })
  })

  it("a destroyed machine's claim lingers: first against deletion, longer against a new machine", () => {
    const world = makeWorld({ delays: { detachMs: 1_000, claimLingerMs: 5_000 } })
    const data = volume(world)
    const { id } = create(world, mount(data.id))
    world.ok(Machines.deleteMachine(app, id, undefined, true))
    assert.isNull(world.volume(data.id).machineId)
    assert.strictEqual(world.refused(Volumes.deleteVolume(app, data.id)).status, 412)
    world.pass(1_000)
    const again = Machines.createMachine(app, { config: { image, ...mount(data.id) } })
    assert.match(world.refused(again).message, /already claimed/)
    world.pass(4_000)
    assert.strictEqual(world.ok(again).state, "created")
  })

  it("unique zones run out, unless not asked for", () => {
    const world = makeWorld({ params: { hostsPerRegion: 3 } })
    const hosts = [1, 2, 3].map(() => volume(world, { requireUniqueZone: true }).host)
    assert.strictEqual(new Set(hosts).size, 3)
    const full = world.refused(Volumes.createVolume(app, { name: "data", region: "ams" }))
    assert.deepStrictEqual([full.status, full.code], [422, "insufficient_capacity"])
    volume(world)
  })

  it("forks and restores copy, and are not ready at once", () => {
    const world = makeWorld({ delays: { volumeCopyMs: 10_000 } })
    const source = volume(world, { sizeGb: 2 })
    const snapshot = world.ok(createSnapshot(app, source.id))
    const fork = volume(world, { sourceVolumeId: source.id })
    assert.strictEqual(fork.state, "hydrating")
    assert.strictEqual(fork.sizeGb, 2)
    assert.notStrictEqual(fork.host, source.host)
    const restored = volume(world, { snapshotId: snapshot.id })
    assert.strictEqual(restored.state, "restoring")
    assert.match(
      world.refused(Volumes.createVolume(app, { name: "small", snapshotId: snapshot.id, sizeGb: 1 })).message,
      /smaller than the snapshot/
    )
    world.pass(10_000)
    assert.strictEqual(world.volume(fork.id).state, "created")
    assert.deepInclude(world.actions, { _tag: "VolumeCreated", volumeId: fork.id, from: { volume: source.id } })
  })

  it("snapshots are taken daily, outlive their volume, and expire", () => {
    const day = 24 * 3_600_000
    const world = makeWorld({ params: { snapshotEveryMs: day } })
    const { id } = volume(world, { snapshotRetention: 2 })
    world.pass(day)
    world.ok(Volumes.deleteVolume(app, id))
    world.pass(day)
    assert.strictEqual(world.ok(listSnapshots(app, id)).length, 1)
    world.pass(day)
    assert.strictEqual(world.refused(listSnapshots(app, id)).status, 404)
  })
})
