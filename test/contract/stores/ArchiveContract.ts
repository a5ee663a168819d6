/** Archiving: begin, upload, commit, abort; retention; takeover against upload and commit. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Archives } from "../../../src/services/db/Archives.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, day, hour, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const begin = (id: string, changes: { readonly idleMs?: number; readonly force?: boolean } = {}) =>
  Effect.flatMap(Projects, (projects) =>
    projects.beginArchive({
      projectId: given.projectId(id),
      operationId: `archive-${id}`,
      leaseMs: given.leaseMs,
      idleMs: 7 * day,
      force: false,
      ...changes
    })
  )

const takeover = (id: string) =>
  Effect.flatMap(Projects, (projects) =>
    projects.abortArchive({
      projectId: given.projectId(id),
      by: { _tag: "Takeover" },
      idleSeconds: null,
      backoffMs: null,
      error: null
    })
  )

const commit = { r2Checksum: given.checksum, size: 4096, machineDeleteAfterMs: 0 }

export const archiveContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: beginArchive`, () => {
    test("awake and idle for long enough → archiving, generation + 1", () =>
      Effect.gen(function* () {
        const { machine, project } = yield* given.active("red")
        yield* advance(7 * day - hour)
        assert.deepStrictEqual(yield* begin("red"), { _tag: "Refused", view: yield* given.viewOf("red") })
        yield* advance(hour)
        const outcome = given.begun(yield* begin("red"))
        assert.deepStrictEqual(outcome.machine, machine)
        assert.deepStrictEqual(outcome.project, {
          ...project,
          operation: "archiving",
          operationId: "archive-red",
          generation: project.generation + 1,
          leaseUntil: outcome.project.leaseUntil
        })
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "archive_begun")
        yield* given.assertNear(outcome.project.leaseUntil, event.at + given.leaseMs)
        assert.deepStrictEqual(yield* given.viewOf("red"), { project: outcome.project, machine })
      }))

    test("a suspended project as well", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const { machine } = yield* given.active("red")
        const seen = { machineId: given.present(machine.machineId), volumeId: null, privateIp: null }
        yield* machines.observe([{ ...seen, state: "suspended" }])
        yield* advance(7 * day)
        assert.strictEqual(given.begun(yield* begin("red")).project.state, "suspended")
      }))

    test("the project's own threshold wins, in both directions", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("short")
        yield* projects.updateSettings(given.projectId("short"), { dormancyThresholdSeconds: 3600 })
        yield* given.active("long")
        yield* projects.updateSettings(given.projectId("long"), { dormancyThresholdSeconds: 30 * 86_400 })
        yield* advance(30 * minute)
        assert.strictEqual((yield* begin("short"))._tag, "Refused")
        yield* advance(30 * minute)
        assert.strictEqual((yield* begin("short"))._tag, "Begun")
        yield* advance(29 * day)
        assert.strictEqual((yield* begin("long"))._tag, "Refused")
        yield* advance(day)
        assert.strictEqual((yield* begin("long"))._tag, "Begun")
      }))

    test("a touch keeps it awake", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        yield* advance(6 * day)
        yield* projects.touch([given.projectId("red")])
        yield* advance(2 * day)
        assert.strictEqual((yield* begin("red"))._tag, "Refused")
        yield* advance(5 * day)
        assert.strictEqual((yield* begin("red"))._tag, "Begun")
      }))

    test("never a pinned one, nor one whose next attempt is ahead; force skips all three", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        assert.strictEqual((yield* begin("red", { force: true }))._tag, "Begun")
        const lease = leaseOf(yield* given.projectOf("red"))
        const failure = { idleSeconds: null, backoffMs: 8 * day, error: "unreachable" }
        yield* projects.abortArchive({ projectId: lease.projectId, by: { _tag: "Holder", lease }, ...failure })
        yield* advance(7 * day + hour)
        assert.strictEqual((yield* begin("red"))._tag, "Refused")
        yield* advance(day)
        yield* projects.updateSettings(lease.projectId, { pinned: true })
        assert.strictEqual((yield* begin("red"))._tag, "Refused")
        yield* projects.updateSettings(lease.projectId, { pinned: false })
        const due = given.begun(yield* begin("red"))
        const holder = { _tag: "Holder", lease: leaseOf(due.project) } as const
        yield* projects.abortArchive({ projectId: lease.projectId, by: holder, ...failure })
        yield* projects.updateSettings(lease.projectId, { pinned: true })
        assert.strictEqual((yield* begin("red", { force: true }))._tag, "Begun")
      }))

    test("only what is awake and undisturbed", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* begin("nobody", { force: true }), { _tag: "Refused", view: null })
        yield* given.creating("creating")
        yield* given.dormant("dormant")
        yield* given.active("archiving")
        yield* given.archiving("archiving")
        const { machine } = yield* given.active("rehosting")
        yield* given.rehosting("rehosting", machine.name)
        yield* given.active("tombstone")
        yield* given.deleted("tombstone")
        yield* given.unavailable("lost")
        yield* advance(30 * day)
        for (const id of ["creating", "dormant", "archiving", "rehosting", "tombstone", "lost"]) {
          assert.strictEqual((yield* begin(id, { force: true }))._tag, "Refused", id)
        }
      }))

    test("of many at once exactly one begins", () =>
      Effect.gen(function* () {
        yield* given.active("red")
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          () => begin("red", { force: true }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(given.isBegun).length, 1)
      }))
  })

  describe(`${harness.name}: startUpload`, () => {
    test("writes the archive row and sets uploading", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        const { project } = yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        assert.strictEqual((yield* given.projectOf("red")).uploading, true)
        const [row] = yield* archives.living
        const { createdAt, urlExpiresAt, ...rest } = given.present(row)
        assert.deepStrictEqual(rest, {
          r2Key: "red-1",
          projectId: project.projectId,
          projectUid: project.uid,
          generation: lease.generation,
          r2Checksum: null,
          size: null,
          status: "uploading",
          attempts: 0,
          nextAttemptAt: null,
          lastError: null
        })
        yield* given.assertNear(urlExpiresAt, createdAt + 15 * minute)
        assert.deepStrictEqual(yield* archives.current(project.uid), Option.none())
      }))

    test("the same key again moves its expiry; another project's key is refused", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        const before = given.present((yield* archives.living)[0])
        yield* advance(minute)
        assert.isTrue(yield* projects.startUpload({ lease, r2Key: "red-1", urlExpiresInMs: 15 * minute }))
        const after = yield* archives.living
        assert.strictEqual(after.length, 1)
        yield* given.assertNear(given.present(after[0]).urlExpiresAt, before.urlExpiresAt + minute)

        yield* given.active("blue")
        const other = yield* given.archiving("blue")
        assert.isFalse(yield* projects.startUpload({ lease: other.lease, r2Key: "red-1", urlExpiresInMs: minute }))
        assert.strictEqual((yield* given.projectOf("blue")).uploading, false)
      }))

    test("only for the holder, and only while archiving", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const creating = leaseOf((yield* given.creating("blue")).project)
        assert.isFalse(yield* projects.startUpload({ lease: creating, r2Key: "blue-1", urlExpiresInMs: minute }))
        yield* given.active("red")
        const { lease } = yield* given.archiving("red")
        const late = { ...lease, generation: lease.generation - 1 }
        assert.isFalse(yield* projects.startUpload({ lease: late, r2Key: "red-1", urlExpiresInMs: minute }))
        const stranger = { ...lease, operationId: "other" }
        assert.isFalse(yield* projects.startUpload({ lease: stranger, r2Key: "red-1", urlExpiresInMs: minute }))
        const archives = yield* Archives
        assert.deepStrictEqual(yield* archives.living, [])
      }))
  })

  describe(`${harness.name}: commitArchive`, () => {
    test("→ dormant, clean, without a machine; the archive is current; the machine may go after its delay", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        const machines = yield* Machines
        const { machine, project } = yield* given.active("red")
        yield* advance(day)
        const after = (yield* given.archived("red", "red-1", 2 * minute)).project
        assert.deepStrictEqual(after, {
          ...project,
          state: "dormant",
          generation: project.generation + 1,
          machine: null,
          dirty: false
        })
        const current = given.present(Option.getOrNull(yield* archives.current(project.uid)))
        assert.strictEqual(current.r2Key, "red-1")
        assert.strictEqual(current.status, "current")
        assert.strictEqual(current.r2Checksum, given.checksum)
        assert.strictEqual(current.size, 4096)

        const row = yield* given.rowOf(machine.name)
        assert.strictEqual(row.status, "discarded")
        assert.strictEqual(row.served, true)
        assert.strictEqual(row.released, true)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "archived")
        yield* given.assertNear(row.nextAttemptAt, event.at + 2 * minute)
        assert.deepStrictEqual(yield* machines.bin(10), [])
        yield* advance(2 * minute)
        assert.deepStrictEqual(yield* machines.bin(10), [row])
      }))

    test("the one before stays as previous, older ones are discarded", () =>
      Effect.gen(function* () {
        yield* given.dormant("red", "red-1")
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "current" })
        for (const [r2Key, expected] of [
          ["red-2", { "red-1": "previous", "red-2": "current" }],
          ["red-3", { "red-1": "discarded", "red-2": "previous", "red-3": "current" }],
          ["red-4", { "red-1": "discarded", "red-2": "discarded", "red-3": "previous", "red-4": "current" }]
        ] as const) {
          yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
          yield* given.archived("red", r2Key)
          assert.deepStrictEqual(yield* given.archiveStatuses("red"), expected)
        }
      }))

    test("clears the failures before it, so that the next wake may begin at once", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.active("red")
        const { lease } = yield* given.archiving("red")
        yield* projects.abortArchive({
          projectId: project.projectId,
          by: { _tag: "Holder", lease },
          idleSeconds: null,
          backoffMs: hour,
          error: "R2 is down"
        })
        const after = (yield* given.archived("red", "red-1")).project
        assert.strictEqual(after.attempts, 0)
        assert.isNull(after.nextAttemptAt)
        assert.isNull(after.lastError)
      }))

    test("of two uploads of one operation the other is discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-a")
        assert.isTrue(yield* projects.startUpload({ lease, r2Key: "red-b", urlExpiresInMs: minute }))
        assert.isTrue(yield* projects.commitArchive({ lease, r2Key: "red-b", ...commit }))
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-a": "discarded", "red-b": "current" })
      }))

    test("refuses without an upload of this operation, and changes nothing", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const first = yield* given.uploading("red", "red-1")
        yield* projects.abortArchive({
          projectId: first.project.projectId,
          by: { _tag: "Holder", lease: first.lease },
          idleSeconds: null,
          backoffMs: null,
          error: null
        })
        const { lease } = yield* given.uploading("red", "red-2")
        const before = yield* given.viewOf("red")
        assert.isFalse(yield* projects.commitArchive({ lease, r2Key: "red-1", ...commit }))
        assert.isFalse(yield* projects.commitArchive({ lease, r2Key: "red-3", ...commit }))
        assert.isFalse(yield* projects.commitArchive({ lease: first.lease, r2Key: "red-2", ...commit }))
        const stranger = { ...lease, operationId: "other" }
        assert.isFalse(yield* projects.commitArchive({ lease: stranger, r2Key: "red-2", ...commit }))
        assert.deepStrictEqual(yield* given.viewOf("red"), before)
        assert.isTrue(yield* projects.commitArchive({ lease, r2Key: "red-2", ...commit }))
        assert.isFalse(yield* projects.commitArchive({ lease, r2Key: "red-2", ...commit }))
      }))
  })

  describe(`${harness.name}: abortArchive`, () => {
    test("the holder gives up: → active, generation + 1, the upload discarded", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine, project } = yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        const by = { _tag: "Holder", lease } as const
        const nothing = { idleSeconds: null, backoffMs: null, error: null }
        const view = given.present(yield* projects.abortArchive({ projectId: project.projectId, by, ...nothing }))
        assert.deepStrictEqual(view, { project: { ...project, generation: lease.generation + 1 }, machine })
        assert.deepStrictEqual(yield* given.viewOf("red"), view)
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "discarded" })
        assert.strictEqual((yield* given.lastEvent("red")).kind, "archive_aborted")
        assert.isNull(yield* projects.abortArchive({ projectId: project.projectId, by, ...nothing }))
        assert.isFalse(yield* projects.commitArchive({ lease, r2Key: "red-1", ...commit }))
      }))

    test("counts an attempt and waits where a backoff says so; the error is told", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease, project } = yield* given.archiving("red")
        const view = given.present(
          yield* projects.abortArchive({
            projectId: project.projectId,
            by: { _tag: "Holder", lease },
            idleSeconds: null,
            backoffMs: hour,
            error: "unreachable"
          })
        )
        assert.strictEqual(view.project.attempts, 1)
        assert.strictEqual(view.project.lastError, "unreachable")
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "archive_failed")
        assert.strictEqual(event.detail["error"], "unreachable")
        assert.strictEqual(event.generation, view.project.generation)
        yield* given.assertNear(view.project.nextAttemptAt, event.at + hour)
      }))

    test("a busy server's last_active_at follows, and never goes back", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.active("red")
        yield* advance(8 * day)
        const abort = (idleSeconds: number) =>
          Effect.gen(function* () {
            const { lease } = yield* given.archiving("red")
            const by = { _tag: "Holder", lease } as const
            const input = { projectId: project.projectId, by, idleSeconds, backoffMs: null, error: null }
            return given.present(yield* projects.abortArchive(input)).project
          })
        const busy = yield* abort(3600)
        yield* given.assertNear(busy.lastActiveAt, project.lastActiveAt + 8 * day - hour)
        const longIdle = yield* abort(10 * 86_400)
        assert.strictEqual(longIdle.lastActiveAt, busy.lastActiveAt)
      }))

    test("a suspended project is active afterwards: its machine was started", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const { machine } = yield* given.active("red")
        const seen = { machineId: given.present(machine.machineId), volumeId: null, privateIp: null }
        yield* machines.observe([{ ...seen, state: "suspended" }])
        yield* given.archiving("red")
        assert.strictEqual((yield* takeover("red"))?.project.state, "active")
      }))

    test("the new generation is above what the machine has seen", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease, project } = yield* given.archiving("red")
        const input = { idleSeconds: null, backoffMs: null, error: null, minGeneration: 20 }
        const by = { _tag: "Holder", lease } as const
        const view = yield* projects.abortArchive({ projectId: project.projectId, by, ...input })
        assert.strictEqual(view?.project.generation, 20)
        const again = yield* given.archiving("red")
        const low = { ...input, by: { _tag: "Holder", lease: again.lease } as const, minGeneration: 3 }
        const next = yield* projects.abortArchive({ projectId: project.projectId, ...low })
        assert.strictEqual(next?.project.generation, again.project.generation + 1)
      }))

    test("anybody may before the upload begins", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.archiving("red")
        const view = given.present(yield* takeover("red"))
        assert.strictEqual(view.project.operation, "none")
        assert.strictEqual(view.project.generation, lease.generation + 1)
        assert.deepStrictEqual((yield* given.eventKinds("red")).slice(-2), ["taken_over", "archive_aborted"])
        assert.isFalse(yield* projects.startUpload({ lease, r2Key: "red-1", urlExpiresInMs: minute }))
        assert.isFalse(yield* projects.renew(lease, given.leaseMs))
      }))

    test("after that only once the lease has expired; then a late commit fails", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        assert.isNull(yield* takeover("red"))
        yield* advance(given.leaseMs - 20 * second)
        assert.isNull(yield* takeover("red"))
        yield* advance(20 * second)
        assert.strictEqual((yield* takeover("red"))?.project.state, "active")
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "discarded" })
        assert.isFalse(yield* projects.commitArchive({ lease, r2Key: "red-1", ...commit }))
        assert.strictEqual((yield* given.projectOf("red")).dirty, true)
      }))

    test("nothing but an archive", () =>
      Effect.gen(function* () {
        assert.isNull(yield* takeover("nobody"))
        const { machine } = yield* given.active("red")
        assert.isNull(yield* takeover("red"))
        yield* given.rehosting("red", machine.name)
        yield* advance(given.leaseMs)
        assert.isNull(yield* takeover("red"))
      }))

    test("takeover against upload at the same moment: one of them wins", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (let i = 0; i < 10; i++) {
          const id = `p${i}`
          yield* given.active(id)
          const { lease } = yield* given.archiving(id)
          const [taken, started] = yield* Effect.all(
            [takeover(id), projects.startUpload({ lease, r2Key: id, urlExpiresInMs: minute })],
            { concurrency: "unbounded" }
          )
          assert.strictEqual(started, taken === null)
          assert.strictEqual((yield* given.projectOf(id)).operation, started ? "archiving" : "none")
        }
      }))

    test("takeover against a late commit at the same moment: one of them wins, wholly", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (let i = 0; i < 10; i++) {
          const id = `p${i}`
          yield* given.active(id)
          const { lease, machine } = yield* given.uploading(id, id)
          yield* advance(given.leaseMs)
          const [committed, taken] = yield* Effect.all(
            [projects.commitArchive({ lease, r2Key: id, ...commit }), takeover(id)],
            { concurrency: "unbounded" }
          )
          assert.strictEqual(committed, taken === null)
          const row = yield* given.rowOf(machine.name)
          assert.strictEqual(row.status, committed ? "discarded" : "assigned")
          assert.strictEqual(row.released, committed)
          assert.deepStrictEqual(yield* given.archiveStatuses(id), { [id]: committed ? "current" : "discarded" })
        }
      }))
  })
}
