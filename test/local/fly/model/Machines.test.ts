import { assert, describe, it } from "@effect/vitest"
import { defaultParams, realisticDelays } from "../../../../src/local/fly/model/FlyState.ts"
import { report } from "../../../../src/local/fly/model/Hosts.ts"
import type { ModelConfig } from "../../../../src/local/fly/model/MachineConfigJson.ts"
import { listMachines, lookForState } from "../../../../src/local/fly/model/MachineList.ts"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import * as Volumes from "../../../../src/local/fly/model/Volumes.ts"
import { app, makeWorld, image, create, volume } from "./World.ts"

describe("machine states", () => {
  const delays = { ...realisticDelays, listLagMs: 0 }

  it("created, starting, started; and back through stopping", () => {
    const world = makeWorld({ delays })
    const { id } = create(world)
    assert.strictEqual(world.machine(id).state, "created")
    assert.strictEqual(world.refused(Machines.startMachine(app, id, undefined)).status, 412)
    world.pass(delays.prepareMs)
    assert.strictEqual(world.machine(id).state, "starting")
    world.pass(delays.bootMs ?? 0)
    assert.strictEqual(world.machine(id).state, "started")
    world.ok(Machines.stopMachine(app, id, undefined))
    assert.strictEqual(world.machine(id).state, "stopping")
    assert.match(world.refused(Machines.startMachine(app, id, undefined)).message, /current state: 'stopping'/)
    world.pass(delays.stopMs ?? 0)
    assert.strictEqual(world.machine(id).state, "stopped")
    assert.deepStrictEqual(world.ok(Machines.startMachine(app, id, undefined)), { previousState: "stopped" })
  })

  it("skip_launch prepares and leaves it stopped", () => {
    const world = makeWorld({ delays })
    const { id } = create(world, {}, { skipLaunch: true })
    world.pass(delays.prepareMs)
    assert.strictEqual(world.machine(id).state, "stopped")
    assert.isFalse(world.actions.some((it) => it._tag === "Boot"))
  })

  it("suspends and resumes without a new boot", () => {
    const world = makeWorld()
    const { id } = create(world)
    world.ok(Machines.suspendMachine(app, id, undefined))
    assert.strictEqual(world.machine(id).state, "suspended")
    world.ok(Machines.startMachine(app, id, undefined))
    assert.strictEqual(world.machine(id).state, "started")
    assert.deepStrictEqual(
      world.actions.map((it) => it._tag),
      ["Boot", "Suspend", "Resume"]
    )
  })

  it.each([
    { why: "memory", config: { guest: { cpu_kind: "shared", cpus: 2, memory_mb: 4096 } } },
    { why: "swap", config: { init: { swap_size_mb: 512 } } },
    { why: "schedule", config: { schedule: "daily" } }
  ] satisfies ReadonlyArray<{ why: string; config: Partial<ModelConfig> }>)(
    "stops instead of suspending: $why",
    ({ config }) => {
      const world = makeWorld()
      const { id } = create(world, config)
      world.ok(Machines.suspendMachine(app, id, undefined))
      assert.strictEqual(world.machine(id).state, "stopped")
    }
  )

  it("update replaces the whole configuration and starts the new version", () => {
    const world = makeWorld({ delays })
    const made = create(world, { env: { A: "1" } })
    world.pass(10_000)
    world.ok(Machines.updateMachine(app, made.id, { config: { image: "other:2" } }))
    const replacing = world.machine(made.id)
    assert.strictEqual(replacing.state, "replacing")
    assert.isUndefined(replacing.config.env)
    assert.notStrictEqual(replacing.instanceId, made.instanceId)
    assert.match(world.refused(Machines.startMachine(app, made.id, undefined)).message, /getting replaced/)
    assert.strictEqual(world.refused(Machines.updateMachine(app, made.id, { config: { image } })).status, 409)
    world.pass(10_000)
    assert.strictEqual(world.machine(made.id).state, "started")
    assert.strictEqual(world.machine(made.id).versions.length, 2)
  })

  it("an update of a stopped machine leaves it stopped", () => {
    const world = makeWorld()
    const { id } = create(world, {}, { skipLaunch: true })
    world.ok(Machines.updateMachine(app, id, { config: { image: "other:2" } }))
    assert.strictEqual(world.machine(id).state, "stopped")
  })

  it("destroys what rests, and what runs only by force", () => {
    const world = makeWorld({ delays })
    const { id } = create(world)
    world.pass(10_000)
    assert.strictEqual(world.refused(Machines.deleteMachine(app, id, undefined, false)).status, 412)
    world.ok(Machines.deleteMachine(app, id, undefined, true))
    assert.strictEqual(world.machine(id).state, "destroying")
    world.pass(delays.destroyMs ?? 0)
    assert.strictEqual(world.machine(id).state, "destroyed")
    assert.deepStrictEqual(world.ok(listMachines(app)), [])
    assert.strictEqual(world.ok(listMachines(app, { includeDeleted: true })).length, 1)
    world.pass(defaultParams.destroyedVisibleMs)
    assert.strictEqual(world.refused(Machines.getMachine(app, id)).status, 404)
  })

  it("restarts what crashed by its policy, at most as often as it says", () => {
    const world = makeWorld()
    const { id } = create(world, { restart: { policy: "on-failure", max_retries: 2 } })
    const crash = () => world.ok(report(id, world.machine(id).run, { _tag: "Exited", code: 1, signal: 0, oom: false }))
    for (let i = 0; i < 2; i++) {
      crash()
      assert.strictEqual(world.machine(id).state, "starting")
      world.pass(defaultParams.restartBackoffMs)
      assert.strictEqual(world.machine(id).state, "started")
    }
    crash()
    assert.strictEqual(world.machine(id).state, "stopped")
    assert.strictEqual(world.machine(id).events[0]?.type, "exit")
  })

  it("a clean exit stops it, and a report about an earlier process changes nothing", () => {
    const world = makeWorld()
    const { id } = create(world)
    world.ok(report(id, 0, { _tag: "Exited", code: 0, signal: 0, oom: false }))
    assert.strictEqual(world.machine(id).state, "started")
    world.ok(report(id, 1, { _tag: "Exited", code: 0, signal: 0, oom: false }))
    assert.strictEqual(world.machine(id).state, "stopped")
  })

  it("waits for reports where the host gives them", () => {
    const world = makeWorld({ delays: { bootMs: null, suspendMs: null, stopMs: null, destroyMs: null } })
    const { id } = create(world)
    world.pass(3_600_000)
    assert.strictEqual(world.machine(id).state, "starting")
    world.ok(report(id, 1, { _tag: "Ready" }))
    assert.strictEqual(world.machine(id).state, "started")
    world.ok(Machines.suspendMachine(app, id, undefined))
    assert.strictEqual(world.machine(id).state, "suspending")
    world.ok(report(id, 1, { _tag: "Suspended" }))
    world.ok(Machines.deleteMachine(app, id, undefined, false))
    world.ok(report(id, 1, { _tag: "Exited", code: 0, signal: 9, oom: false }))
    assert.strictEqual(world.machine(id).state, "destroyed")
  })

  it("after the host's own crash what ran runs again and what slept is stopped", () => {
    const world = makeWorld()
    const [up, asleep] = [create(world), create(world)]
    world.ok(Machines.suspendMachine(app, asleep.id, undefined))
    world.restart()
    assert.strictEqual(world.machine(up.id).run, 2)
    assert.strictEqual(world.machine(up.id).state, "started")
    assert.strictEqual(world.machine(asleep.id).state, "stopped")
  })
})

describe("names and lists", () => {
  it("a name is unique while its machine lives, and the refusal names the machine", () => {
    const world = makeWorld()
    const first = create(world, {}, { name: "one" })
    const refusal = world.refused(Machines.createMachine(app, { name: "one", config: { image } }))
    assert.strictEqual(refusal.status, 409)
    assert.include(refusal.message, `machine ID ${first.id} already exists with name "one"`)
    world.ok(Machines.deleteMachine(app, first.id, undefined, true))
    assert.notStrictEqual(create(world, {}, { name: "one" }).id, first.id)
  })

  it("filters by metadata, region and state", () => {
    const world = makeWorld()
    const a = create(world, { metadata: { plane: "p", kind: "x" } }, { region: "iad" })
    create(world, { metadata: { plane: "p" } }, { region: "ams" })
    const ids = (filter: Parameters<typeof listMachines>[1]) => world.ok(listMachines(app, filter)).map((it) => it.id)
    assert.deepStrictEqual(ids({ metadata: { plane: "p", kind: "x" } }), [a.id])
    assert.deepStrictEqual(ids({ region: "iad" }), [a.id])
    assert.strictEqual(ids({ states: ["started", "stopped"] }).length, 2)
    assert.deepStrictEqual(ids({ states: ["stopped"] }), [])
  })

  it("lists lag: the new is not yet there, the deleted still is", () => {
    const world = makeWorld({ delays: { listLagMs: 1_000 } })
    const machine = create(world)
    const { id } = volume(world)
    assert.deepStrictEqual(world.ok(listMachines(app)), [])
    assert.strictEqual(world.ok(Machines.getMachine(app, machine.id)).id, machine.id)
    world.pass(1_000)
    assert.strictEqual(world.ok(listMachines(app)).length, 1)
    world.ok(Volumes.deleteVolume(app, id))
    assert.strictEqual(world.ok(Volumes.listVolumes(app))[0]?.state, "created")
    world.pass(1_000)
    assert.strictEqual(world.ok(Volumes.listVolumes(app))[0]?.state, "pending_destroy")
  })

  it("ids are the same for the same seed and never twice", () => {
    const ids = () => {
      const world = makeWorld()
      return Array.from({ length: 50 }, () => create(world).id)
    }
    assert.deepStrictEqual(ids(), ids())
    assert.strictEqual(new Set(ids()).size, 50)
    assert.match(ids()[0] ?? "", /^[0-9a-f]{14}$/)
  })
})

describe("wait", () => {
  it("sees what is reached, what may come, and what can't", () => {
    const world = makeWorld({ delays: { bootMs: 100 } })
    const { id, instanceId } = create(world)
    assert.isNull(world.ok(lookForState(app, id, { states: ["started"] })))
    world.pass(100)
    assert.strictEqual(world.ok(lookForState(app, id, { states: ["started"] }))?.id, id)
    assert.strictEqual(world.ok(lookForState(app, id, { states: ["settled"] }))?.id, id)
    assert.strictEqual(world.refused(lookForState(app, id, { states: ["stopped"] })).status, 400)
    assert.isNull(world.ok(lookForState(app, id, { states: ["stopped"], instanceId })))
    assert.match(
      world.refused(lookForState(app, id, { states: ["stopped"], instanceId: "another" })).message,
      /currently replaced/
    )
    world.ok(Machines.deleteMachine(app, id, undefined, true))
    assert.strictEqual(world.refused(lookForState(app, id, { states: ["started"] })).status, 400)
    assert.strictEqual(world.ok(lookForState(app, id, { states: ["destroyed"] }))?.id, id)
  })
})
