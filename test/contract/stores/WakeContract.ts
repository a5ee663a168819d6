/** Waking: begin, renew, commit, fail, expire; and who may not. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const begin = (
  id: string,
  operationId: string,
  changes: { readonly force?: boolean; readonly claims?: boolean } = {}
) =>
  Effect.flatMap(Projects, (projects) =>
    projects.beginWake({
      projectId: given.projectId(id),
      operationId,
      leaseMs: given.leaseMs,
      claim: changes.claims === true ? given.claim : null,
      ...(changes.force === undefined ? {} : { force: changes.force })
    })
  )

export const wakeContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: beginWake`, () => {
    test("dormant → waking, generation + 1, with a pool machine and the current archive", () =>
      Effect.gen(function* () {
        const { project: before } = yield* given.dormant("red", "red-1")
        yield* given.ready("pool1")
        const { archive, machine, project } = given.begun(yield* begin("red", "w1", { claims: true }))
        assert.strictEqual(project.state, "dormant")
        assert.strictEqual(project.operation, "waking")
        assert.strictEqual(project.operationId, "w1")
        assert.strictEqual(project.generation, before.generation + 1)
        assert.isNull(project.machine)
        assert.strictEqual(archive?.r2Key, "red-1")
        assert.strictEqual(archive?.r2Checksum, given.checksum)
        assert.strictEqual(archive?.size, 4096)
        assert.strictEqual(machine?.status, "assigned")
        assert.strictEqual(machine?.project, project.projectId)
        assert.strictEqual(machine?.generation, project.generation)
        assert.deepStrictEqual((yield* given.viewOf("red")).project, project)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "wake_begun")
        assert.strictEqual(event.generation, project.generation)
        yield* given.assertNear(project.leaseUntil, event.at + given.leaseMs)
      }))

    test("refuses what is not there, awake, or a tombstone, with the row as it is", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* begin("nobody", "w"), { _tag: "Refused", view: null })
        yield* given.active("red")
        assert.deepStrictEqual(yield* begin("red", "w", { force: true }), {
          _tag: "Refused",
          view: yield* given.viewOf("red")
        })
        yield* given.deleted("red")
        const refused = yield* begin("red", "w", { force: true })
        assert.strictEqual(refused._tag === "Refused" && refused.view?.project.state, "deleted")
      }))

    test("refuses while another operation holds its lease", () =>
      Effect.gen(function* () {
        yield* given.creating("red")
        yield* advance(given.leaseMs - 20 * second)
        assert.strictEqual((yield* begin("red", "w", { force: true }))._tag, "Refused")
        yield* given.dormant("blue")
        yield* given.waking("blue")
        assert.strictEqual((yield* begin("blue", "w", { force: true }))._tag, "Refused")
      }))

    test("never takes over an archive, a rehost or a delete", () =>
      Effect.gen(function* () {
        yield* given.active("red")
        yield* given.archiving("red")
        const { machine } = yield* given.active("blue")
        yield* given.rehosting("blue", machine.name)
        yield* given.dormant("green")
        const projects = yield* Projects
        yield* projects.beginDelete({
          projectId: given.projectId("green"),
          operationId: "d",
          leaseMs: given.leaseMs,
          force: false
        })
        yield* advance(given.leaseMs)
        for (const id of ["red", "blue", "green"]) {
          assert.strictEqual((yield* begin(id, "w", { force: true }))._tag, "Refused", id)
        }
      }))

    test("takes over with an expired lease: a new owner, and what the old one had made is discarded", () =>
      Effect.gen(function* () {
        yield* given.ready("pool1")
        yield* given.ready("pool2")
        const { machine, project } = yield* given.creating("red", { claim: given.claim })
        const late = leaseOf(project)
        yield* given.cold(late, "cold1")
        const machines = yield* Machines
        yield* machines.insertFor(late, given.newMachine("cold2"), given.maxMachines)
        yield* advance(given.leaseMs)
        const taken = given.begun(yield* begin("red", "w1", { claims: true }))
        assert.strictEqual(taken.project.operation, "waking")
        assert.strictEqual(taken.project.generation, 2)
        assert.strictEqual(taken.machine?.name, given.machineName("pool2"))
        for (const name of [given.present(machine).name, "cold1", "cold2"]) {
          const row = yield* given.rowOf(name)
          assert.strictEqual(row.status, "discarded", name)
          assert.strictEqual(row.released, false)
        }
        assert.strictEqual((yield* given.rowOf("pool2")).status, "assigned")
        assert.deepStrictEqual(yield* given.eventKinds("red"), ["created", "taken_over", "wake_begun"])

        const projects = yield* Projects
        assert.isNull(yield* projects.commitActive({ lease: late, machine: given.machineName("cold1") }))
        assert.isFalse(yield* projects.renew(late, given.leaseMs))
        assert.isFalse(yield* projects.failWake({ lease: late, error: "late", retryAfterMs: null }))
        assert.isNull(yield* projects.raiseGeneration(late, 9))
      }))

    test("waits for the next attempt, unless forced", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* projects.failWake({ lease: leaseOf(project), error: "no capacity", retryAfterMs: 2 * minute })
        assert.strictEqual((yield* begin("red", "w1"))._tag, "Refused")
        const forced = given.begun(yield* begin("red", "w2", { force: true }))
        yield* projects.failWake({ lease: leaseOf(forced.project), error: "again", retryAfterMs: 2 * minute })
        yield* advance(minute)
        assert.strictEqual((yield* begin("red", "w3"))._tag, "Refused")
        yield* advance(minute)
        const due = given.begun(yield* begin("red", "w4"))
        assert.strictEqual(due.project.attempts, 2)
      }))

    test("fifty at once: exactly one begins, and one machine is claimed", () =>
      Effect.gen(function* () {
        yield* given.dormant("red")
        yield* given.ready("pool1")
        yield* given.ready("pool2")
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, i) => i),
          (i) => begin("red", `w${i}`, { claims: true }),
          { concurrency: "unbounded" }
        )
        const winners = outcomes.filter(given.isBegun)
        assert.strictEqual(winners.length, 1)
        assert.deepStrictEqual((yield* given.viewOf("red")).project, winners[0]?.project)
        for (const outcome of outcomes) {
          if (outcome._tag === "Refused") assert.strictEqual(outcome.view?.project.operation, "waking")
        }
        const rows = [yield* given.rowOf("pool1"), yield* given.rowOf("pool2")]
        assert.strictEqual(rows.filter(({ status }) => status === "ready").length, 1)
      }))

    test("thirty projects and ten machines: none is handed out twice, none is left", () =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 30 }, (_, i) => `p${i}`)
        yield* Effect.forEach(ids, (id) =>
          Effect.gen(function* () {
            const projects = yield* Projects
            const { project } = yield* given.creating(id)
            yield* projects.failWake({ lease: leaseOf(project), error: "-", retryAfterMs: null })
          })
        )
        const names = Array.from({ length: 10 }, (_, i) => `pool${i}`)
        yield* Effect.forEach(names, (name) => given.ready(name))
        const outcomes = yield* Effect.forEach(ids, (id) => begin(id, `w-${id}`, { claims: true }), {
          concurrency: "unbounded"
        })
        const claimed = outcomes.flatMap((outcome) => {
          const { machine } = given.begun(outcome)
          return machine === null ? [] : [machine.name]
        })
        assert.deepStrictEqual(claimed.toSorted().map(String), names)
      }))
  })

  describe(`${harness.name}: renew`, () => {
    test("extends the lease, so that nobody takes over", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* advance(given.leaseMs - 20 * second)
        assert.isTrue(yield* projects.renew(leaseOf(project), given.leaseMs))
        yield* advance(30 * second)
        assert.strictEqual((yield* begin("red", "w"))._tag, "Refused")
        yield* given.assertNear(
          (yield* given.projectOf("red")).leaseUntil,
          project.createdAt + 2 * given.leaseMs - 20 * second
        )
      }))

    test("also after it expired, as long as nobody took over", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* advance(given.leaseMs * 2)
        assert.isTrue(yield* projects.renew(leaseOf(project), given.leaseMs))
        assert.strictEqual((yield* begin("red", "w"))._tag, "Refused")
      }))

    test("only for the holder", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const lease = leaseOf((yield* given.creating("red")).project)
        assert.isFalse(yield* projects.renew({ ...lease, operationId: "other" }, given.leaseMs))
        assert.isFalse(yield* projects.renew({ ...lease, generation: 2 }, given.leaseMs))
        assert.isFalse(yield* projects.renew({ ...lease, projectId: given.projectId("blue") }, given.leaseMs))
        yield* given.comeUp(lease)
        assert.isFalse(yield* projects.renew(lease, given.leaseMs))
      }))
  })

  describe(`${harness.name}: commitActive`, () => {
    test("on a machine from the pool", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("pool1")
        const { project } = yield* given.creating("red", { claim: given.claim })
        yield* advance(5 * second)
        const machine = given.machineName("pool1")
        const view = given.present(yield* projects.commitActive({ lease: leaseOf(project), machine }))
        assert.deepStrictEqual(
          { ...view.project, lastActiveAt: 0 },
          {
            ...project,
            state: "active",
            operation: "none",
            operationId: null,
            leaseUntil: null,
            machine,
            dirty: true,
            lastActiveAt: 0
          }
        )
        yield* given.assertNear(view.project.lastActiveAt, project.createdAt + 5 * second)
        assert.strictEqual(view.machine?.status, "assigned")
        assert.strictEqual(view.machine?.served, true)
        assert.strictEqual(view.machine?.released, false)
        assert.deepStrictEqual(yield* given.viewOf("red"), view)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "woken")
        assert.strictEqual(event.detail["machine"], machine)
      }))

    test("on a machine of its own, and whatever else it had is discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("pool1")
        const lease = leaseOf((yield* given.creating("red", { claim: given.claim })).project)
        const machine = yield* given.cold(lease, "cold1")
        const view = given.present(yield* projects.commitActive({ lease, machine }))
        assert.strictEqual(view.machine?.name, machine)
        assert.strictEqual(view.machine?.status, "assigned")
        const beside = yield* given.rowOf("pool1")
        assert.strictEqual(beside.status, "discarded")
        assert.strictEqual(beside.released, false)
        assert.strictEqual(beside.served, false)
      }))

    test("clears the failures before it", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* projects.failWake({ lease: leaseOf(project), error: "no capacity", retryAfterMs: minute })
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        assert.strictEqual(view.project.attempts, 0)
        assert.isNull(view.project.nextAttemptAt)
        assert.isNull(view.project.lastError)
      }))

    test("after the lease expired, if nobody took over; once only", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const lease = leaseOf((yield* given.creating("red")).project)
        const machine = yield* given.cold(lease, "cold1")
        yield* advance(given.leaseMs * 3)
        assert.isNotNull(yield* projects.commitActive({ lease, machine }))
        const committed = yield* given.viewOf("red")
        assert.isNull(yield* projects.commitActive({ lease, machine }))
        assert.deepStrictEqual(yield* given.viewOf("red"), committed)
      }))

    test("refuses another operation's lease, and changes nothing", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const lease = leaseOf((yield* given.creating("red")).project)
        const machine = yield* given.cold(lease, "cold1")
        const before = [yield* given.viewOf("red"), yield* given.rowOf("cold1")]
        assert.isNull(yield* projects.commitActive({ lease: { ...lease, operationId: "other" }, machine }))
        assert.isNull(yield* projects.commitActive({ lease: { ...lease, generation: 0 }, machine }))
        assert.isNull(yield* projects.commitActive({ lease: { ...lease, projectId: given.projectId("b") }, machine }))
        assert.deepStrictEqual([yield* given.viewOf("red"), yield* given.rowOf("cold1")], before)
      }))

    test("refuses a machine that is not the operation's to take", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        const older = leaseOf((yield* given.creating("red")).project)
        yield* given.cold(older, "old")
        yield* projects.failWake({ lease: older, error: "-", retryAfterMs: null })
        const lease = leaseOf((yield* given.waking("red")).project)
        yield* machines.insertFor(lease, given.newMachine("noid"), given.maxMachines)
        yield* given.cold(lease, "binned")
        yield* machines.discard({ name: given.machineName("binned"), from: ["provisioning"], reason: "test" })
        yield* given.cold(leaseOf((yield* given.creating("blue")).project), "foreign")
        yield* given.ready("pool1")
        const before = yield* given.viewOf("red")
        for (const name of ["old", "noid", "binned", "foreign", "pool1", "nothing"]) {
          assert.isNull(yield* projects.commitActive({ lease, machine: given.machineName(name) }), name)
        }
        assert.deepStrictEqual(yield* given.viewOf("red"), before)
        assert.strictEqual((yield* given.rowOf("foreign")).status, "provisioning")
        assert.strictEqual((yield* given.rowOf("pool1")).status, "ready")
      }))

    test("against a takeover at the same moment: one of them wins, wholly", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (let i = 0; i < 10; i++) {
          const id = `p${i}`
          const lease = leaseOf((yield* given.creating(id)).project)
          const machine = yield* given.cold(lease, `cold${i}`)
          yield* advance(given.leaseMs)
          const [committed, taken] = yield* Effect.all(
            [projects.commitActive({ lease, machine }), begin(id, "w", { claims: true })],
            { concurrency: "unbounded" }
          )
          const row = yield* given.rowOf(`cold${i}`)
          const { project } = yield* given.viewOf(id)
          if (committed === null) {
            assert.strictEqual(taken._tag, "Begun")
            assert.strictEqual(row.status, "discarded")
            assert.strictEqual(project.operation, "waking")
          } else {
            assert.strictEqual(taken._tag, "Refused")
            assert.strictEqual(row.status, "assigned")
            assert.strictEqual(project.state, "active")
          }
        }
      }))
  })

  describe(`${harness.name}: failWake`, () => {
    test("→ dormant, with an attempt counted and its machines discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("pool1")
        const { project } = yield* given.creating("red", { claim: given.claim })
        const lease = leaseOf(project)
        yield* given.cold(lease, "cold1")
        assert.isTrue(yield* projects.failWake({ lease, error: "restore failed", retryAfterMs: 30 * second }))
        const after = yield* given.projectOf("red")
        assert.deepStrictEqual(
          { ...after, nextAttemptAt: 0 },
          {
            ...project,
            operation: "none",
            operationId: null,
            leaseUntil: null,
            attempts: 1,
            nextAttemptAt: 0,
            lastError: "restore failed"
          }
        )
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "wake_failed")
        assert.strictEqual(event.detail["error"], "restore failed")
        yield* given.assertNear(after.nextAttemptAt, event.at + 30 * second)
        for (const name of ["pool1", "cold1"]) assert.strictEqual((yield* given.rowOf(name)).status, "discarded")
        assert.isFalse(yield* projects.failWake({ lease, error: "twice", retryAfterMs: null }))
      }))

    test("without a delay the next wake may begin at once", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* projects.failWake({ lease: leaseOf(project), error: "-", retryAfterMs: null })
        assert.isNull((yield* given.projectOf("red")).nextAttemptAt)
        assert.strictEqual((yield* begin("red", "w"))._tag, "Begun")
      }))

    test("ends no other operation", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.archiving("red")
        assert.isFalse(yield* projects.failWake({ lease, error: "-", retryAfterMs: null }))
        assert.strictEqual((yield* given.projectOf("red")).operation, "archiving")
      }))
  })

  describe(`${harness.name}: raiseGeneration`, () => {
    test("the operation goes on above what the machine has seen, and its machines with it", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("pool1")
        const lease = leaseOf((yield* given.creating("red", { claim: given.claim })).project)
        const raised = given.present(yield* projects.raiseGeneration(lease, 6))
        assert.deepStrictEqual(raised, { ...lease, generation: 7 })
        assert.strictEqual((yield* given.projectOf("red")).generation, 7)
        assert.isFalse(yield* projects.renew(lease, given.leaseMs))
        const machine = given.machineName("pool1")
        assert.isNull(yield* projects.commitActive({ lease, machine }))
        const view = given.present(yield* projects.commitActive({ lease: raised, machine }))
        assert.strictEqual(view.machine?.generation, 7)
      }))

    test("never goes down, and only for the holder", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const lease = leaseOf((yield* given.creating("red")).project)
        const raised = given.present(yield* projects.raiseGeneration(lease, 4))
        assert.deepStrictEqual(yield* projects.raiseGeneration(raised, 2), raised)
        assert.deepStrictEqual(yield* projects.raiseGeneration(raised, 5), { ...raised, generation: 6 })
        assert.isNull(yield* projects.raiseGeneration(raised, 9))
        assert.isNull(yield* projects.raiseGeneration({ ...raised, operationId: "other", generation: 6 }, 9))
      }))

    test("an upload comes along", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        const raised = given.present(yield* projects.raiseGeneration(lease, lease.generation))
        assert.strictEqual(raised.generation, lease.generation + 1)
        const commit = { r2Key: "red-1", r2Checksum: given.checksum, size: 1, machineDeleteAfterMs: 0 }
        assert.isFalse(yield* projects.commitArchive({ ...commit, lease }))
        assert.isTrue(yield* projects.commitArchive({ ...commit, lease: raised }))
      }))
  })

  describe(`${harness.name}: expireWake`, () => {
    test("creating and waking fall asleep once their lease has expired", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        const lease = leaseOf(project)
        const machine = yield* given.cold(lease, "cold1")
        assert.isFalse(yield* projects.expireWake(project.projectId))
        yield* advance(given.leaseMs)
        assert.isTrue(yield* projects.expireWake(project.projectId))
        const after = yield* given.projectOf("red")
        assert.deepStrictEqual(after, {
          ...project,
          operation: "none",
          operationId: null,
          leaseUntil: null,
          generation: 2
        })
        assert.strictEqual((yield* given.rowOf("cold1")).status, "discarded")
        assert.deepStrictEqual(yield* given.eventKinds("red"), ["created", "taken_over"])
        assert.isNull(yield* projects.commitActive({ lease, machine }))
        assert.isFalse(yield* projects.expireWake(project.projectId))

        yield* given.waking("red")
        yield* advance(given.leaseMs)
        assert.isTrue(yield* projects.expireWake(project.projectId))
      }))

    test("no other operation does", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        yield* given.archiving("red")
        yield* advance(given.leaseMs)
        assert.isFalse(yield* projects.expireWake(given.projectId("red")))
        assert.isFalse(yield* projects.expireWake(given.projectId("nobody")))
      }))
  })
}
