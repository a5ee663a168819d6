import { assert, describe, it } from "@effect/vitest"
import { loseHost, migrate, restoreHost } from "../../../../src/local/fly/model/Hosts.ts"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import * as Volumes from "../../../../src/local/fly/model/Volumes.ts"
import { app, makeWorld, create, volume } from "./World.ts"

describe("hosts", () => {
  const mount = (id: string) => ({ mounts: [{ volume: id, path: "/data" }] })

  it("out of reach: nothing is lost, destruction waits", () => {
    const world = makeWorld()
    const data = volume(world)
    const { id, host } = create(world, mount(data.id))
    world.ok(loseHost(host, "unreachable"))
    assert.strictEqual(world.refused(Machines.stopMachine(app, id, undefined)).status, 503)
    world.ok(Machines.deleteMachine(app, id, undefined, true))
    world.pass(3_600_000)
    assert.strictEqual(world.machine(id).state, "destroying")
    assert.strictEqual(world.ok(Volumes.deleteVolume(app, data.id)).state, "pending_destroy")
    world.ok(restoreHost(host))
    assert.strictEqual(world.machine(id).state, "destroyed")
  })

  it("machine gone, volume kept elsewhere", () => {
    const world = makeWorld()
    const data = volume(world)
    const { id, host } = create(world, mount(data.id))
    world.ok(loseHost(host, "machine"))
    assert.strictEqual(world.refused(Machines.getMachine(app, id)).status, 404)
    assert.notStrictEqual(world.volume(data.id).host, host)
    create(world, mount(data.id))
  })

  it("both gone", () => {
    const world = makeWorld()
    const data = volume(world)
    const { id, host } = create(world, mount(data.id))
    world.ok(loseHost(host, "both"))
    assert.strictEqual(world.refused(Machines.getMachine(app, id)).status, 404)
    assert.strictEqual(world.refused(Volumes.getVolume(app, data.id)).status, 404)
  })

  it("a migration keeps the machine's id and changes its volume's and its address", () => {
    const world = makeWorld()
    const data = volume(world)
    const before = create(world, mount(data.id))
    const after = world.ok(migrate(before.id))
    assert.strictEqual(after.id, before.id)
    assert.notStrictEqual(after.privateIp, before.privateIp)
    const moved = after.config.mounts?.[0]?.volume ?? ""
    assert.notStrictEqual(moved, data.id)
    assert.strictEqual(world.volume(moved).machineId, before.id)
    assert.strictEqual(world.volume(data.id).state, "pending_destroy")
    assert.strictEqual(world.machine(before.id).state, "started")
  })
})
