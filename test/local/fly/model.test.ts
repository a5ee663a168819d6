import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { createApp, deleteApp } from "../../../src/local/fly/model/Apps.ts"
import type { Op } from "../../../src/local/fly/model/Draft.ts"
import { runOp } from "../../../src/local/fly/model/Draft.ts"
import type { Delays, FlyState, HostAction, Machine, Params, Volume } from "../../../src/local/fly/model/FlyState.ts"
import { defaultParams, emptyState, instantDelays, realisticDelays } from "../../../src/local/fly/model/FlyState.ts"
import { loseHost, migrate, recovered, report, restoreHost } from "../../../src/local/fly/model/Hosts.ts"
import { acquireLease, getLease, releaseLease } from "../../../src/local/fly/model/Leases.ts"
import { durationMs, goDuration, readBack } from "../../../src/local/fly/model/MachineConfigJson.ts"
import type { ModelConfig } from "../../../src/local/fly/model/MachineConfigJson.ts"
import { listMachines, lookForState } from "../../../src/local/fly/model/MachineList.ts"
import * as Machines from "../../../src/local/fly/model/Machines.ts"
import { changeMetadata, getMetadata } from "../../../src/local/fly/model/Metadata.ts"
import { spend } from "../../../src/local/fly/model/RateLimit.ts"
import type { Refusal } from "../../../src/local/fly/model/Refusal.ts"
import { settle } from "../../../src/local/fly/model/Settle.ts"
import { createSnapshot, listSnapshots } from "../../../src/local/fly/model/Snapshots.ts"
import * as Volumes from "../../../src/local/fly/model/Volumes.ts"

const app = "projects"

/** A world with a clock that only moves when told. */
const makeWorld = (options: { readonly delays?: Partial<Delays>; readonly params?: Partial<Params> } = {}) => {
  const params: Params = { ...defaultParams, ...options.params, delays: { ...instantDelays, ...options.delays } }
  let now = 1_000_000
  let state: FlyState = emptyState(7)
  const actions: Array<HostAction> = []
  const pass = (ms: number) => {
    now += ms
    const settled = settle(state, params, now)
    state = settled.state
    actions.push(...settled.actions)
  }
  const run = <A>(op: Op<A>): Result.Result<A, Refusal> => {
    pass(0)
    const step = runOp(state, params, now, op)
    state = step.state
    actions.push(...step.actions)
    pass(0)
    return step.answer
  }
  const ok = <A>(op: Op<A>): A => {
    const answer = run(op)
    if (Result.isFailure(answer)) return assert.fail(`${answer.failure.status} ${answer.failure.message}`)
    return answer.success
  }
  const refused = <A>(op: Op<A>): Refusal => {
    const answer = run(op)
    return Result.isFailure(answer) ? answer.failure : assert.fail("was not refused")
  }
  ok(createApp({ name: app, org: "personal" }))
  const restart = () => {
    state = recovered(state, params, now)
    pass(0)
  }
  return {
    run,
    restart,
    ok,
    refused,
    pass,
    actions,
    state: () => state,
    now: () => now,
    machine: (id: string): Machine => state.machines[id] ?? assert.fail(`no machine ${id}`),
    volume: (id: string): Volume => state.volumes[id] ?? assert.fail(`no volume ${id}`)
  }
}
type World = ReturnType<typeof makeWorld>

const image = "registry.fly.io/valet:1"
const create = (world: World, config: Partial<ModelConfig> = {}, more: Partial<Machines.CreateMachineInput> = {}) =>
  world.ok(Machines.createMachine(app, { config: { image, ...config }, ...more }))
const volume = (world: World, more: Partial<Volumes.CreateVolumeInput> = {}) =>
  world.ok(Volumes.createVolume(app, { name: "data", region: "ams", requireUniqueZone: false, ...more }))

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

describe("leases", () => {
  it("guard every change but metadata, until they end", () => {
    const world = makeWorld()
    const { id } = create(world)
    const lease = world.ok(acquireLease(app, id, { ttl: 10, owner: "me" }))
    const guarded: ReadonlyArray<Op<unknown>> = [
      Machines.updateMachine(app, id, { config: { image } }),
      Machines.startMachine(app, id, "wrong"),
      Machines.stopMachine(app, id, undefined),
      Machines.suspendMachine(app, id, undefined),
      Machines.restartMachine(app, id, undefined),
      Machines.setCordon(app, id, undefined, true),
      Machines.deleteMachine(app, id, undefined, true),
      Machines.startMachine(app, id, undefined, "proxy")
    ]
    for (const op of guarded) {
      const refusal = world.refused(op)
      assert.deepStrictEqual([refusal.status, refusal.shape], [409, "lease"])
      assert.include(refusal.message, `machine ID ${id} lease currently held by me`)
    }
    world.ok(changeMetadata(app, id, { set: { a: "1" } }))
    world.ok(Machines.setCordon(app, id, lease.nonce, true))
    assert.strictEqual(world.ok(acquireLease(app, id, { nonce: lease.nonce, ttl: 20 })).nonce, lease.nonce)
    world.pass(20_000)
    assert.strictEqual(world.refused(getLease(app, id)).status, 404)
    world.ok(Machines.stopMachine(app, id, undefined))
  })

  it("are released by their nonce alone", () => {
    const world = makeWorld()
    const { id } = create(world, {}, { leaseTtl: 60 })
    const nonce = world.ok(getLease(app, id)).nonce
    assert.strictEqual(world.refused(releaseLease(app, id, "other")).status, 409)
    world.ok(releaseLease(app, id, nonce))
    assert.strictEqual(world.refused(getLease(app, id)).status, 404)
  })
})

describe("metadata", () => {
  it("merges, removes and checks the version", () => {
    const world = makeWorld()
    const { id } = create(world, { metadata: { a: "1" } })
    world.ok(changeMetadata(app, id, { set: { b: "2" } }))
    assert.deepStrictEqual(world.ok(getMetadata(app, id)), { a: "1", b: "2" })
    world.ok(changeMetadata(app, id, { set: {}, remove: ["a"] }))
    assert.deepStrictEqual(world.ok(getMetadata(app, id)), { b: "2" })
    assert.strictEqual(world.refused(changeMetadata(app, id, { set: {}, machineVersion: "old" })).status, 412)
  })
})

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

describe("apps", () => {
  it("names are taken once, and deletion takes everything along", () => {
    const world = makeWorld()
    const refusal = world.refused(createApp({ name: app, org: "other" }))
    assert.deepStrictEqual([refusal.status, refusal.code], [422, "name_taken"])
    const { id } = create(world)
    const data = volume(world)
    assert.strictEqual(world.refused(deleteApp(app, false)).status, 412)
    world.ok(deleteApp(app, true))
    assert.strictEqual(world.machine(id).state, "destroyed")
    assert.strictEqual(world.volume(data.id).state, "pending_destroy")
    assert.strictEqual(world.refused(listMachines(app)).status, 404)
  })
})

describe("request budget", () => {
  it("three at once, then one a second; ten and five for reading one machine", () => {
    const world = makeWorld({ params: { rateLimits: true } })
    const taken = (operation: "createMachine" | "getMachine", target?: string) => {
      let count = 0
      world.ok((draft) => {
        while (spend(draft, { operation, app, ...(target === undefined ? {} : { target }) }) === null) count++
        return Result.succeed(undefined)
      })
      return count
    }
    assert.strictEqual(taken("createMachine"), 3)
    assert.strictEqual(taken("createMachine"), 0)
    world.pass(2_000)
    assert.strictEqual(taken("createMachine"), 2)
    assert.strictEqual(taken("getMachine", "a"), 10)
    assert.strictEqual(taken("getMachine", "b"), 10)
    world.pass(1_000)
    assert.strictEqual(taken("getMachine", "a"), 5)
  })
})

describe("configuration", () => {
  it.each([
    ["15s", 15_000, "15s"],
    ["60s", 60_000, "1m0s"],
    ["1h", 3_600_000, "1h0m0s"],
    ["500ms", 500, "500ms"],
    ["1m30s", 90_000, "1m30s"],
    [15_000_000_000, 15_000, "15s"]
  ] as const)("duration %s", (written, ms, printed) => {
    assert.strictEqual(durationMs(written), ms)
    assert.strictEqual(goDuration(ms), printed)
  })

  it("is filled in, keeps what it does not know, and reads autostop back as Fly does", () => {
    const world = makeWorld()
    const unknown = { statics: [{ guest_path: "/a", url_prefix: "/" }] }
    const services = [{ autostop: "off" }, { autostop: "stop" }, { autostop: "suspend" }] as const
    const { config } = create(world, {
      services,
      stop_config: { timeout: "60s" },
      ...unknown
    })
    assert.deepStrictEqual(config.restart, { policy: "on-failure", max_retries: 10 })
    assert.deepStrictEqual(config.guest, { cpu_kind: "shared", cpus: 1, memory_mb: 256 })
    assert.deepStrictEqual(config.stop_config, { timeout: "1m0s" })
    assert.deepStrictEqual(readBack(config)["statics"], unknown.statics)
    assert.deepStrictEqual(readBack(config)["services"], [
      { autostop: false, autostart: false },
      { autostop: true, autostart: false },
      { autostop: "suspend", autostart: false }
    ])
  })

  it.each([
    { guest: { memory_mb: 300 } },
    { guest: { cpus: 2, memory_mb: 256 } },
    { guest: { cpu_kind: "performance", cpus: 1, memory_mb: 1024 } },
    { mounts: [{ volume: "a" }, { volume: "b" }] },
    { stop_config: { timeout: "soon" } }
  ] satisfies ReadonlyArray<Partial<ModelConfig>>)("is refused: %j", (config: Partial<ModelConfig>) => {
    assert.strictEqual(makeWorld().refused(Machines.createMachine(app, { config: { image, ...config } })).status, 400)
  })
})
