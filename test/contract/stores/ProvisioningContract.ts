/** The machine ledger on the way to a machine: rows before resources, ids as Fly answers, pool and claims. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const { machineName } = given
const namesOf = (rows: ReadonlyArray<{ readonly name: string }>) => rows.map(({ name }) => String(name))

const volume = (volumeId: string, region = given.region) => ({ volumeId, region })
const machine = (machineId: string, privateIp: string | null = null) => ({ machineId, privateIp })

export const provisioningContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: inserting rows`, () => {
    test("a pool row is provisioning, without project and ids", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        assert.isTrue(yield* machines.insertPool(given.newMachine("pool1"), 10))
        const { createdAt, updatedAt, ...row } = yield* given.rowOf("pool1")
        assert.deepStrictEqual(row, {
          name: machineName("pool1"),
          project: null,
          generation: 0,
          region: given.region,
          image: given.image,
          volumeSizeGb: 1,
          machineId: null,
          volumeId: null,
          privateIp: null,
          keyId: "k1",
          status: "provisioning",
          served: false,
          released: false,
          attempts: 0,
          nextAttemptAt: null,
          lastError: null,
          absentLooks: 0
        })
        assert.strictEqual(createdAt, updatedAt)
        assert.isNull(yield* machines.find(machineName("nothing")))
      }))

    test("an operation's row carries its project and generation", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        const first = leaseOf((yield* given.creating("red")).project)
        yield* projects.failWake({ lease: first, error: "-", retryAfterMs: null })
        const lease = leaseOf((yield* given.waking("red")).project)
        assert.strictEqual(yield* machines.insertFor(lease, given.newMachine("cold1"), 10), "inserted")
        const row = yield* given.rowOf("cold1")
        assert.strictEqual(row.project, given.projectId("red"))
        assert.strictEqual(row.generation, 2)
        assert.strictEqual(row.status, "provisioning")
        assert.deepStrictEqual(namesOf(yield* machines.ofProject(given.projectId("red"))), ["cold1"])
        assert.strictEqual(yield* machines.insertFor(first, given.newMachine("cold2"), 10), "lost")
        const stranger = { ...lease, operationId: "other" }
        assert.strictEqual(yield* machines.insertFor(stranger, given.newMachine("cold2"), 10), "lost")
        assert.isNull(yield* machines.find(machineName("cold2")))
      }))

    test("inserting again what was inserted already says so", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const lease = leaseOf((yield* given.creating("red")).project)
        yield* machines.insertFor(lease, given.newMachine("cold1"), 10)
        assert.strictEqual(yield* machines.insertFor(lease, given.newMachine("cold1"), 10), "inserted")
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        assert.isTrue(yield* machines.insertPool(given.newMachine("pool1"), 10))
        assert.strictEqual((yield* machines.living).length, 2)
      }))

    test("never more than maxMachines that are not gone", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const lease = leaseOf((yield* given.creating("red")).project)
        assert.isTrue(yield* machines.insertPool(given.newMachine("pool1"), 2))
        assert.strictEqual(yield* machines.insertFor(lease, given.newMachine("cold1"), 2), "inserted")
        assert.isFalse(yield* machines.insertPool(given.newMachine("pool2"), 2))
        assert.strictEqual(yield* machines.insertFor(lease, given.newMachine("cold2"), 2), "full")
        yield* given.recorded("pool1")
        yield* machines.discard({ name: machineName("pool1"), from: ["provisioning"], reason: "-" })
        assert.isFalse(yield* machines.insertPool(given.newMachine("pool2"), 2))
        yield* machines.recordGone(machineName("pool1"), "machine")
        yield* machines.recordGone(machineName("pool1"), "volume")
        assert.isTrue(yield* machines.markGone(machineName("pool1")))
        assert.isTrue(yield* machines.insertPool(given.newMachine("pool2"), 2))
      }))

    test("exact when many ask at once", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const lease = leaseOf((yield* given.creating("red")).project)
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) =>
            i % 2 === 0
              ? machines.insertPool(given.newMachine(`pool${i}`), 5)
              : Effect.map(machines.insertFor(lease, given.newMachine(`cold${i}`), 5), (it) => it === "inserted"),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(Boolean).length, 5)
        assert.strictEqual((yield* machines.living).length, 5)
      }))
  })

  describe(`${harness.name}: writing what Fly answered`, () => {
    test("a row that is provisioning stays so", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        const one = given.present(yield* machines.recordVolume(machineName("pool1"), volume("vol-1", "fra")))
        assert.strictEqual(one.volumeId, "vol-1")
        assert.strictEqual(one.region, "fra")
        const two = given.present(yield* machines.recordMachine(machineName("pool1"), machine("m-1", "fdaa::1")))
        assert.strictEqual(two.machineId, "m-1")
        assert.strictEqual(two.privateIp, "fdaa::1")
        assert.strictEqual(two.status, "provisioning")
        assert.deepStrictEqual(yield* given.rowOf("pool1"), two)
        assert.isNull(yield* machines.recordVolume(machineName("nothing"), volume("vol-2")))
        assert.isNull(yield* machines.recordMachine(machineName("nothing"), machine("m-2")))
      }))

    test("a row in the bin stays there, and knows what there is to delete", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        yield* machines.discard({ name: machineName("pool1"), from: ["provisioning"], reason: "-" })
        const row = given.present(yield* machines.recordVolume(machineName("pool1"), volume("vol-1")))
        assert.strictEqual(row.status, "discarded")
        assert.strictEqual(row.volumeId, "vol-1")
      }))

    test("a late id takes a ready or claimed row to the bin: nobody knows what it is", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* given.ready("pool1")
        const one = yield* machines.recordMachine(machineName("pool1"), machine("m-late"))
        assert.strictEqual(one?.status, "discarded")
        assert.strictEqual(one?.machineId, "m-late")
        yield* given.ready("pool2")
        yield* given.creating("red", { claim: given.claim })
        const two = yield* machines.recordVolume(machineName("pool2"), volume("vol-late"))
        assert.strictEqual(two?.status, "discarded")
      }))

    test("a row that is gone comes back to the bin with it", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* given.ready("pool1")
        yield* machines.discard({ name: machineName("pool1"), from: ["ready"], reason: "-" })
        yield* machines.recordGone(machineName("pool1"), "machine")
        yield* machines.recordGone(machineName("pool1"), "volume")
        assert.isTrue(yield* machines.markGone(machineName("pool1")))
        const row = yield* machines.recordMachine(machineName("pool1"), machine("m-late"))
        assert.strictEqual(row?.status, "discarded")
        assert.strictEqual(row?.machineId, "m-late")
        assert.isFalse(yield* machines.markGone(machineName("pool1")))
        yield* machines.recordGone(machineName("pool1"), "machine")
        assert.isTrue(yield* machines.markGone(machineName("pool1")))
      }))

    test("the same id again changes nothing, wherever the row is by then", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const ready = yield* given.ready("pool1")
        const before = yield* given.rowOf(ready)
        yield* machines.recordVolume(ready, volume("vol-pool1"))
        yield* machines.recordMachine(ready, machine("m-pool1"))
        assert.deepStrictEqual(yield* given.rowOf(ready), before)
        const active = yield* given.active("red")
        yield* machines.recordMachine(active.machine.name, machine(given.present(active.machine.machineId)))
        assert.deepStrictEqual(yield* given.rowOf(active.machine.name), active.machine)
      }))

    test("a machine that serves keeps its ids, unless it is being rehosted", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const active = yield* given.active("red")
        const name = active.machine.name
        assert.deepStrictEqual(yield* machines.recordMachine(name, machine("m-late")), active.machine)
        assert.deepStrictEqual(yield* machines.recordVolume(name, volume("vol-late")), active.machine)
        yield* given.rehosting("red", name)
        const row = yield* machines.recordMachine(name, machine("m-next"))
        assert.strictEqual(row?.status, "assigned")
        assert.strictEqual(row?.machineId, "m-next")
      }))
  })

  describe(`${harness.name}: the pool`, () => {
    test("markReady only for a complete pool row", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        assert.isFalse(yield* machines.markReady(machineName("pool1")))
        yield* machines.recordVolume(machineName("pool1"), volume("vol-1"))
        assert.isFalse(yield* machines.markReady(machineName("pool1")))
        yield* machines.recordMachine(machineName("pool1"), machine("m-1"))
        assert.isTrue(yield* machines.markReady(machineName("pool1")))
        assert.isFalse(yield* machines.markReady(machineName("pool1")))
        yield* machines.insertPool(given.newMachine("pool2"), 10)
        yield* machines.recordMachine(machineName("pool2"), machine("m-2"))
        assert.isFalse(yield* machines.markReady(machineName("pool2")))

        yield* given.cold(leaseOf((yield* given.creating("red")).project), "cold1")
        assert.isFalse(yield* machines.markReady(machineName("cold1")))
        assert.isFalse(yield* machines.markReady(machineName("nothing")))
        yield* machines.discard({ name: machineName("pool1"), from: ["ready"], reason: "-" })
        assert.isFalse(yield* machines.markReady(machineName("pool1")))
      }))

    test("is the rows ready, and those provisioning without a project", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* given.ready("ready1")
        yield* advance(second)
        yield* machines.insertPool(given.newMachine("provisioning1"), 10)
        yield* advance(second)
        yield* given.ready("claimed1", { region: "fra" })
        yield* given.creating("red", { claim: { ...given.claim, region: "fra" } })
        yield* machines.insertFor(leaseOf(yield* given.projectOf("red")), given.newMachine("cold1"), 10)
        yield* given.ready("binned1")
        yield* machines.discard({ name: machineName("binned1"), from: ["ready"], reason: "-" })
        assert.deepStrictEqual(namesOf(yield* machines.pool), ["ready1", "provisioning1"])
      }))

    test("discard asks for the status, and never takes a project's committed machine", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* given.ready("pool1")
        const discard = (name: string, from: ReadonlyArray<"provisioning" | "ready" | "assigned">) =>
          machines.discard({ name: machineName(name), from, reason: "of another image" })
        assert.isFalse(yield* discard("pool1", ["provisioning"]))
        assert.isFalse(yield* discard("nothing", ["ready"]))
        assert.isTrue(yield* discard("pool1", ["provisioning", "ready"]))
        const row = yield* given.rowOf("pool1")
        assert.strictEqual(row.status, "discarded")
        assert.strictEqual(row.lastError, "of another image")
        assert.isNull(row.nextAttemptAt)
        assert.isFalse(yield* discard("pool1", ["provisioning", "ready"]))

        const active = yield* given.active("red")
        assert.isFalse(yield* discard(active.machine.name, ["assigned", "ready", "provisioning"]))
        yield* given.rehosting("red", active.machine.name)
        assert.isFalse(yield* discard(active.machine.name, ["assigned"]))
        assert.deepStrictEqual(yield* given.rowOf(active.machine.name), active.machine)
      }))

    test("a discard against a claim at the same moment: one of them wins", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        for (let i = 0; i < 10; i++) {
          const name = yield* given.ready(`pool${i}`)
          const [discarded, created] = yield* Effect.all(
            [machines.discard({ name, from: ["ready"], reason: "-" }), given.creating(`p${i}`, { claim: given.claim })],
            { concurrency: "unbounded" }
          )
          assert.strictEqual(discarded, created.machine === null)
          assert.strictEqual((yield* given.rowOf(name)).status, discarded ? "discarded" : "assigned")
        }
      }))
  })

  describe(`${harness.name}: claimNext`, () => {
    const next = (lease: ReturnType<typeof leaseOf>, discard: string) =>
      Effect.flatMap(Machines, (machines) =>
        machines.claimNext({ lease, discard: machineName(discard), reason: "does not answer", claim: given.claim })
      )

    test("discards the one that does not answer, and claims the oldest that fits", () =>
      Effect.gen(function* () {
        yield* given.ready("one")
        yield* advance(second)
        yield* given.ready("elsewhere", { region: "fra" })
        yield* given.ready("two")
        yield* advance(second)
        yield* given.ready("three")
        const { project } = yield* given.creating("red", { claim: given.claim })
        const claimed = given.present(yield* next(leaseOf(project), "one"))
        assert.strictEqual(claimed.name, machineName("two"))
        assert.strictEqual(claimed.status, "assigned")
        assert.strictEqual(claimed.project, project.projectId)
        assert.strictEqual(claimed.generation, project.generation)
        const old = yield* given.rowOf("one")
        assert.strictEqual(old.status, "discarded")
        assert.strictEqual(old.lastError, "does not answer")
        const last = given.present(yield* next(leaseOf(project), "two"))
        assert.strictEqual(last.name, machineName("three"))
        assert.isNull(yield* next(leaseOf(project), "three"))
        assert.strictEqual((yield* given.rowOf("three")).status, "discarded")
        assert.strictEqual((yield* given.rowOf("elsewhere")).status, "ready")
      }))

    test("does nothing for a lost lease", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("one")
        yield* advance(second)
        yield* given.ready("two")
        const lease = leaseOf((yield* given.creating("red", { claim: given.claim })).project)
        assert.isNull(yield* next({ ...lease, generation: 9 }, "one"))
        assert.strictEqual((yield* given.rowOf("one")).status, "assigned")
        yield* projects.commitActive({ lease, machine: machineName("one") })
        assert.isNull(yield* next(lease, "one"))
        assert.strictEqual((yield* given.rowOf("one")).status, "assigned")
        assert.strictEqual((yield* given.rowOf("two")).status, "ready")
      }))

    test("discards no row of another project", () =>
      Effect.gen(function* () {
        yield* given.ready("one")
        yield* given.creating("blue", { claim: given.claim })
        const lease = leaseOf((yield* given.creating("red")).project)
        assert.isNull(yield* next(lease, "one"))
        assert.strictEqual((yield* given.rowOf("one")).status, "assigned")
      }))

    test("hands no row out twice to many at once", () =>
      Effect.gen(function* () {
        const names = Array.from({ length: 10 }, (_, i) => `pool${i}`)
        yield* Effect.forEach(names, (name) => given.ready(name))
        const leases = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, i) => `p${i}`),
          (id) => Effect.map(given.creating(id), ({ project }) => leaseOf(project))
        )
        const rows = yield* Effect.forEach(leases, (lease) => next(lease, "nothing"), { concurrency: "unbounded" })
        const claimed = rows.flatMap((row) => (row === null ? [] : [String(row.name)]))
        assert.deepStrictEqual(claimed.toSorted(), names)
      }))
  })
}
