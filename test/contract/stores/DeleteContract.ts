/** Deleting: any state → tombstone; and nothing comes after it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, hour, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const begin = (id: string, force = false, operationId = `delete-${id}`) =>
  Effect.flatMap(Projects, (projects) =>
    projects.beginDelete({ projectId: given.projectId(id), operationId, leaseMs: given.leaseMs, force })
  )

export const deleteContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: beginDelete`, () => {
    test("begins on a quiet project, in whatever state", () =>
      Effect.gen(function* () {
        const { project } = yield* given.active("awake")
        const outcome = given.begun(yield* begin("awake"))
        assert.deepStrictEqual(outcome.project, {
          ...project,
          operation: "deleting",
          operationId: "delete-awake",
          generation: project.generation + 1,
          leaseUntil: outcome.project.leaseUntil
        })
        assert.strictEqual((yield* given.lastEvent("awake")).kind, "delete_begun")
        yield* given.dormant("asleep")
        assert.strictEqual((yield* begin("asleep"))._tag, "Begun")
        yield* given.unavailable("lost")
        assert.strictEqual((yield* begin("lost"))._tag, "Begun")
      }))

    test("refuses a running operation, and what is not there or gone", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* begin("nobody", true), { _tag: "Refused", view: null })
        yield* given.creating("red")
        assert.strictEqual((yield* begin("red"))._tag, "Refused")
        yield* given.deleted("red")
        assert.deepStrictEqual(yield* begin("red", true), { _tag: "Refused", view: yield* given.viewOf("red") })
      }))

    test("takes over a wake, by force or after its lease: its commit fails, its machines are discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (const id of ["forced", "expired"]) {
          const lease = leaseOf((yield* given.creating(id)).project)
          const machine = yield* given.cold(lease, `cold${id}`)
          if (id === "expired") yield* advance(given.leaseMs)
          assert.strictEqual((yield* begin(id, id === "forced"))._tag, "Begun")
          assert.isNull(yield* projects.commitActive({ lease, machine }))
          assert.strictEqual((yield* given.rowOf(machine)).status, "discarded")
          assert.deepStrictEqual(yield* given.eventKinds(id), ["created", "taken_over", "delete_begun"])
        }
      }))

    test("takes over an archive: its commit fails, its upload is discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        const { project } = given.begun(yield* begin("red", true))
        assert.strictEqual(project.uploading, false)
        const commit = { r2Key: "red-1", r2Checksum: given.checksum, size: 1, machineDeleteAfterMs: 0 }
        assert.isFalse(yield* projects.commitArchive({ lease, ...commit }))
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "discarded" })
        assert.deepStrictEqual(yield* given.rowOf(machine.name), machine)
      }))

    test("takes over a delete whose owner died", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const late = leaseOf(given.begun(yield* begin("red", false, "d1")).project)
        assert.strictEqual((yield* begin("red", false, "d2"))._tag, "Refused")
        yield* advance(given.leaseMs)
        const lease = leaseOf(given.begun(yield* begin("red", false, "d2")).project)
        assert.isFalse(yield* projects.commitDelete({ lease: late, machineDeleteAfterMs: 0 }))
        assert.isTrue(yield* projects.commitDelete({ lease, machineDeleteAfterMs: 0 }))
      }))

    test("of many at once exactly one begins", () =>
      Effect.gen(function* () {
        yield* given.active("red")
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => begin("red", false, `d${i}`),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(given.isBegun).length, 1)
      }))
  })

  describe(`${harness.name}: commitDelete`, () => {
    test("→ tombstone: machines discarded and released after the delay, archives discarded", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        yield* given.dormant("red", "red-1")
        yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        const { machine } = yield* given.archived("red", "red-2", hour)
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        const serving = given.present(view.project.machine)
        const binned = yield* given.rowOf(machine.name)
        const { project } = given.begun(yield* begin("red"))
        const lease = leaseOf(project)
        assert.isTrue(yield* projects.commitDelete({ lease, machineDeleteAfterMs: 5 * minute }))

        const after = yield* given.projectOf("red")
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "deleted")
        assert.deepStrictEqual(after, {
          ...project,
          state: "deleted",
          operation: "none",
          operationId: null,
          leaseUntil: null,
          machine: null,
          dirty: false,
          deletedAt: after.deletedAt
        })
        yield* given.assertNear(after.deletedAt, event.at)
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "discarded", "red-2": "discarded" })
        const row = yield* given.rowOf(serving)
        assert.strictEqual(row.status, "discarded")
        assert.strictEqual(row.released, true)
        yield* given.assertNear(row.nextAttemptAt, event.at + 5 * minute)
        assert.strictEqual((yield* given.rowOf(machine.name)).nextAttemptAt, binned.nextAttemptAt)
        assert.isFalse((yield* machines.bin(10)).some(({ name }) => name === serving))
        yield* advance(5 * minute)
        assert.isTrue((yield* machines.bin(10)).some(({ name }) => name === serving))
        assert.isFalse(yield* projects.commitDelete({ lease, machineDeleteAfterMs: 0 }))
      }))

    test("releases also what a recovery had kept, and the bin looks at it again at once", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const machines = yield* Machines
        const { machine } = yield* given.unavailable("red")
        yield* projects.recover({ projectId: given.projectId("red"), from: "empty" })
        yield* machines.noteFailure(machine.name, "kept for its volume", 24 * 60 * minute)
        assert.strictEqual((yield* given.rowOf(machine.name)).released, false)
        assert.isFalse((yield* machines.bin(10)).some(({ name }) => name === machine.name))
        yield* given.deleted("red")
        assert.strictEqual((yield* given.rowOf(machine.name)).released, true)
        yield* advance(5 * minute)
        assert.isTrue((yield* machines.bin(10)).some(({ name }) => name === machine.name))
      }))

    test("only for the holder", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.archiving("red")
        assert.isFalse(yield* projects.commitDelete({ lease, machineDeleteAfterMs: 0 }))
        const deleting = leaseOf(given.begun(yield* begin("red", true)).project)
        const stranger = { ...deleting, operationId: "other" }
        assert.isFalse(yield* projects.commitDelete({ lease: stranger, machineDeleteAfterMs: 0 }))
        assert.strictEqual((yield* given.projectOf("red")).state, "active")
      }))

    test("against a commit at the same moment: one of them wins, wholly", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (let i = 0; i < 10; i++) {
          const id = `p${i}`
          const lease = leaseOf((yield* given.creating(id)).project)
          const machine = yield* given.cold(lease, `cold${i}`)
          yield* advance(10 * second)
          const [committed, deleting] = yield* Effect.all(
            [projects.commitActive({ lease, machine }), begin(id, true)],
            { concurrency: "unbounded" }
          )
          assert.strictEqual(deleting._tag, "Begun")
          const row = yield* given.rowOf(machine)
          assert.strictEqual(row.status, committed === null ? "discarded" : "assigned")
          assert.strictEqual((yield* given.projectOf(id)).machine, committed === null ? null : machine)
          const held = leaseOf(given.begun(deleting).project)
          assert.isTrue(yield* projects.commitDelete({ lease: held, machineDeleteAfterMs: 0 }))
          assert.strictEqual((yield* given.rowOf(machine)).released, true)
        }
      }))
  })
}
