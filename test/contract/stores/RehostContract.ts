/** Rehosting, in place or onto a fork; data that is lost, and an operator's decision about it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const begin = (id: string, machine: string, force = false) =>
  Effect.flatMap(Projects, (projects) =>
    projects.beginRehost({
      projectId: given.projectId(id),
      operationId: `rehost-${id}`,
      leaseMs: given.leaseMs,
      machine: given.machineName(machine),
      reason: "host is lost",
      force
    })
  )

const recover = (id: string, from: "archive" | "empty") =>
  Effect.flatMap(Projects, (projects) => projects.recover({ projectId: given.projectId(id), from }))

export const rehostContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: beginRehost`, () => {
    test("awake, on the machine that was expected → rehosting, generation + 1", () =>
      Effect.gen(function* () {
        const { machine, project } = yield* given.active("red")
        const outcome = given.begun(yield* begin("red", machine.name))
        assert.deepStrictEqual(outcome.machine, machine)
        assert.deepStrictEqual(outcome.project, {
          ...project,
          operation: "rehosting",
          operationId: "rehost-red",
          generation: project.generation + 1,
          leaseUntil: outcome.project.leaseUntil
        })
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "rehost_begun")
        assert.strictEqual(event.detail["reason"], "host is lost")
      }))

    test("refuses another machine, another operation, and what is not awake", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* begin("nobody", "m"), { _tag: "Refused", view: null })
        const { machine } = yield* given.active("red")
        assert.strictEqual((yield* begin("red", "other", true))._tag, "Refused")
        yield* given.archiving("red")
        yield* advance(given.leaseMs)
        assert.strictEqual((yield* begin("red", machine.name, true))._tag, "Refused")
        const blue = yield* given.active("blue")
        yield* given.archived("blue", "blue-1")
        assert.strictEqual((yield* begin("blue", blue.machine.name, true))._tag, "Refused")
        const green = yield* given.active("green")
        yield* given.deleted("green")
        assert.strictEqual((yield* begin("green", green.machine.name, true))._tag, "Refused")
      }))

    test("takes over with an expired lease: forks are discarded, the project's own row is not", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const late = yield* given.rehosting("red", machine.name)
        const fork = yield* given.cold(late.lease, "fork1")
        assert.strictEqual((yield* begin("red", machine.name))._tag, "Refused")
        yield* advance(given.leaseMs)
        const taken = given.begun(yield* begin("red", machine.name))
        assert.strictEqual(taken.project.generation, late.project.generation + 1)
        assert.strictEqual((yield* given.rowOf("fork1")).status, "discarded")
        assert.deepStrictEqual(yield* given.rowOf(machine.name), machine)
        assert.deepStrictEqual((yield* given.eventKinds("red")).slice(-2), ["taken_over", "rehost_begun"])
        assert.isNull(yield* projects.commitActive({ lease: late.lease, machine: fork }))
        assert.isNull(yield* projects.commitActive({ lease: late.lease, machine: machine.name }))
      }))

    test("waits for the next attempt, unless forced", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const { lease } = yield* given.rehosting("red", machine.name)
        yield* projects.failRehost({ lease, error: "host is full", retryAfterMs: minute, dataUnavailable: false })
        yield* advance(30 * second)
        assert.strictEqual((yield* begin("red", machine.name))._tag, "Refused")
        yield* advance(30 * second)
        assert.strictEqual((yield* begin("red", machine.name))._tag, "Begun")
      }))

    test("not while data is unavailable, unless forced", () =>
      Effect.gen(function* () {
        const { machine } = yield* given.unavailable("red")
        yield* advance(10 * minute)
        assert.strictEqual((yield* begin("red", machine.name))._tag, "Refused")
        assert.strictEqual((yield* begin("red", machine.name, true))._tag, "Begun")
      }))
  })

  describe(`${harness.name}: rehost`, () => {
    test("in place keeps the ledger row: its id is cleared, the next one written, and committed", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const { lease } = yield* given.rehosting("red", machine.name)
        assert.isTrue(yield* machines.clearMachine(lease, machine.name))
        const cleared = yield* given.rowOf(machine.name)
        assert.isNull(cleared.machineId)
        assert.isNull(cleared.privateIp)
        assert.strictEqual(cleared.volumeId, machine.volumeId)
        assert.strictEqual(cleared.status, "assigned")
        assert.isNull(yield* projects.commitActive({ lease, machine: machine.name }))

        const next = { machineId: "m-next", privateIp: "fdaa::2" }
        const recorded = given.present(yield* machines.recordMachine(machine.name, next))
        assert.strictEqual(recorded.status, "assigned")
        const view = given.present(yield* projects.commitActive({ lease, machine: machine.name }))
        assert.strictEqual(view.machine?.machineId, "m-next")
        assert.strictEqual(view.machine?.privateIp, "fdaa::2")
        assert.strictEqual(view.machine?.volumeId, machine.volumeId)
        assert.strictEqual(view.machine?.generation, lease.generation)
        assert.strictEqual(view.machine?.served, true)
        assert.strictEqual(view.machine?.released, false)
        assert.strictEqual(view.project.operation, "none")
        assert.strictEqual(view.project.generation, lease.generation)
        assert.strictEqual((yield* given.lastEvent("red")).kind, "rehosted")
        assert.strictEqual((yield* machines.living).length, 1)
      }))

    test("onto a fork uses a new row; the old one is discarded, and released with the commit", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const { lease } = yield* given.rehosting("red", machine.name)
        const fork = yield* given.cold(lease, "fork1")
        const before = yield* given.rowOf(machine.name)
        assert.strictEqual(before.status, "assigned")
        assert.strictEqual(before.released, false)
        const view = given.present(yield* projects.commitActive({ lease, machine: fork }))
        assert.strictEqual(view.project.machine, fork)
        assert.strictEqual(view.machine?.served, true)
        const old = yield* given.rowOf(machine.name)
        assert.strictEqual(old.status, "discarded")
        assert.strictEqual(old.released, true)
        // Whoever has seen the old machine fail comes too late.
        assert.strictEqual((yield* begin("red", machine.name, true))._tag, "Refused")
      }))

    test("failed: → active on the same row, generation + 1, forks discarded, an attempt counted", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine, project } = yield* given.active("red")
        const { lease } = yield* given.rehosting("red", machine.name)
        yield* given.cold(lease, "fork1")
        const failure = { lease, error: "host is full", retryAfterMs: minute, dataUnavailable: false }
        assert.isTrue(yield* projects.failRehost(failure))
        const after = yield* given.viewOf("red")
        assert.deepStrictEqual(after, {
          project: {
            ...project,
            generation: lease.generation + 1,
            attempts: 1,
            nextAttemptAt: after.project.nextAttemptAt,
            lastError: "host is full"
          },
          machine
        })
        assert.strictEqual((yield* given.rowOf("fork1")).status, "discarded")
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "rehost_failed")
        yield* given.assertNear(after.project.nextAttemptAt, event.at + minute)
        assert.isFalse(yield* projects.failRehost(failure))
      }))

    test("a stranger fails nothing", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        const { machine } = yield* given.active("red")
        const { lease } = yield* given.rehosting("red", machine.name)
        const stranger = { ...lease, operationId: "other" }
        const failure = { lease: stranger, error: "-", retryAfterMs: 0, dataUnavailable: true }
        assert.isFalse(yield* projects.failRehost(failure))
        assert.isFalse(yield* machines.clearMachine(stranger, machine.name))
        assert.isFalse(yield* projects.failWake({ lease, error: "-", retryAfterMs: null }))
        assert.deepStrictEqual(yield* given.rowOf(machine.name), machine)
        assert.strictEqual((yield* given.projectOf("red")).dataUnavailable, false)
      }))
  })

  describe(`${harness.name}: data unavailable`, () => {
    test("is told by an event that names what may be missing, once", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.dormant("red", "red-1")
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        const machine = given.present(view.project.machine)
        const first = yield* given.rehosting("red", machine)
        const failure = { error: "volume is gone", retryAfterMs: minute, dataUnavailable: true }
        yield* projects.failRehost({ lease: first.lease, ...failure })
        const after = yield* given.projectOf("red")
        assert.strictEqual(after.dataUnavailable, true)
        assert.strictEqual(after.state, "active")
        assert.strictEqual(after.dirty, true)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "data_unavailable")
        assert.strictEqual(event.detail["machine"], machine)
        assert.strictEqual(typeof event.detail["archived_at"], "number")

        const again = yield* given.rehosting("red", machine, true)
        yield* projects.failRehost({ lease: again.lease, ...failure, dataUnavailable: false })
        assert.strictEqual((yield* given.projectOf("red")).dataUnavailable, true)
        assert.strictEqual((yield* given.lastEvent("red")).kind, "rehost_failed")
      }))

    test("ends with a rehost that commits", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.unavailable("red")
        const { lease } = yield* given.rehosting("red", machine.name, true)
        const view = yield* projects.commitActive({ lease, machine: machine.name })
        assert.strictEqual(view?.project.dataUnavailable, false)
        assert.strictEqual(view?.project.attempts, 0)
      }))

    test("a rehost whose lease has expired is taken over without force, though data is unavailable", () =>
      Effect.gen(function* () {
        const { machine } = yield* given.unavailable("red")
        yield* given.rehosting("red", machine.name, true)
        yield* advance(given.leaseMs)
        const { project } = yield* given.rehosting("red", machine.name)
        assert.strictEqual(project.dataUnavailable, true)
      }))

    test("ends with a snapshot as well; the lost row stays unreleased, for it may hold more", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.unavailable("red")
        const { lease } = yield* given.rehosting("red", machine.name, true)
        const restored = yield* given.cold(lease, "snapshot1")
        const view = given.present(yield* projects.commitActive({ lease, machine: restored }))
        assert.strictEqual(view.project.dataUnavailable, false)
        assert.strictEqual(view.project.machine, restored)
        const old = yield* given.rowOf(machine.name)
        assert.strictEqual(old.status, "discarded")
        assert.strictEqual(old.released, false)
      }))

    test("recover from the archive: → dormant and clean; the lost row stays unreleased", () =>
      Effect.gen(function* () {
        yield* given.dormant("red", "red-1")
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        const machine = given.present(view.project.machine)
        const { lease } = yield* given.rehosting("red", machine)
        const projects = yield* Projects
        yield* projects.failRehost({ lease, error: "-", retryAfterMs: minute, dataUnavailable: true })
        const before = yield* given.projectOf("red")
        const after = given.present(yield* recover("red", "archive"))
        assert.deepStrictEqual(after, {
          ...before,
          state: "dormant",
          machine: null,
          dirty: false,
          dataUnavailable: false,
          attempts: 0,
          nextAttemptAt: null,
          lastError: null
        })
        const row = yield* given.rowOf(machine)
        assert.strictEqual(row.status, "discarded")
        assert.strictEqual(row.released, false)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "recovered")
        assert.strictEqual(event.detail["from"], "archive")
        assert.strictEqual((yield* given.waking("red")).archive?.r2Key, "red-1")
        assert.isNull(yield* recover("red", "archive"))
      }))

    test("recover empty retires the archive, which outlives the next one", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.dormant("red", "red-1")
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        const { lease } = yield* given.rehosting("red", given.present(view.project.machine))
        yield* projects.failRehost({ lease, error: "-", retryAfterMs: minute, dataUnavailable: true })
        assert.isNotNull(yield* recover("red", "empty"))
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "previous" })
        const woken = yield* given.waking("red")
        assert.isNull(woken.archive)
        yield* given.comeUp(leaseOf(woken.project))
        yield* given.archived("red", "red-2")
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "previous", "red-2": "current" })
      }))

    test("recover only then, and never during an operation", () =>
      Effect.gen(function* () {
        assert.isNull(yield* recover("nobody", "empty"))
        yield* given.active("blue")
        assert.isNull(yield* recover("blue", "empty"))
        yield* given.dormant("green")
        assert.isNull(yield* recover("green", "archive"))
        const { machine } = yield* given.unavailable("red")
        yield* given.rehosting("red", machine.name, true)
        assert.isNull(yield* recover("red", "empty"))
        assert.strictEqual((yield* given.projectOf("red")).dataUnavailable, true)
      }))
  })
}
