/** Settings, touches, lists, counts, what a sweep and a recovery pass look for, and events. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { leaseOf, type ProjectState } from "../../../src/domain/Project.ts"
import { Projects, routeRow } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, day, hour, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const idsOf = (rows: ReadonlyArray<{ readonly projectId: string }>) => rows.map(({ projectId }) => String(projectId))

/** All pages of a list, in order. */
const listAll = (state: ProjectState | null, limit: number) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const ids: Array<string> = []
    let cursor: string | null = null
    do {
      const page: Effect.Success<ReturnType<typeof projects.list>> = yield* projects.list({ state, cursor, limit })
      assert.isAtMost(page.projects.length, limit)
      ids.push(...idsOf(page.projects))
      cursor = page.next
    } while (cursor !== null)
    return ids
  })

export const projectQueriesContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: settings`, () => {
    test("a patch changes what it names, and is told", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine, project } = yield* given.active("red", { idleTimeoutSeconds: 300 })
        const first = yield* projects.updateSettings(project.projectId, { pinned: true })
        const settings = { idleTimeoutSeconds: 300, dormancyThresholdSeconds: null, pinned: true }
        assert.deepStrictEqual(first, Option.some({ project: { ...project, settings }, machine }))
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "settings_changed")
        assert.deepStrictEqual(event.detail, { pinned: true })
        yield* projects.updateSettings(project.projectId, { idleTimeoutSeconds: null, dormancyThresholdSeconds: 60 })
        assert.deepStrictEqual((yield* given.projectOf("red")).settings, {
          idleTimeoutSeconds: null,
          dormancyThresholdSeconds: 60,
          pinned: true
        })
      }))

    test("neither of nothing nor of a tombstone", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const patch = { pinned: true }
        assert.deepStrictEqual(yield* projects.updateSettings(given.projectId("nobody"), patch), Option.none())
        yield* given.creating("red")
        const before = yield* given.deleted("red")
        assert.deepStrictEqual(yield* projects.updateSettings(given.projectId("red"), patch), Option.none())
        assert.deepStrictEqual(yield* given.projectOf("red"), before)
      }))

    test("an operation in between loses nothing", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const lease = leaseOf((yield* given.creating("red")).project)
        yield* projects.updateSettings(lease.projectId, { pinned: true })
        const view = yield* given.comeUp(lease)
        assert.strictEqual(view.project.settings.pinned, true)
      }))
  })

  describe(`${harness.name}: routes`, () => {
    test("what each row and its machine say, and nothing of who does not exist", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { machine } = yield* given.active("up")
        yield* given.dormant("asleep")
        yield* given.active("archiving")
        yield* given.archiving("archiving")
        yield* given.unavailable("lost")
        yield* given.creating("gone")
        yield* given.deleted("gone")
        const ids = ["up", "asleep", "archiving", "lost", "gone", "nobody", "up"].map(given.projectId)
        const rows = yield* projects.routes(ids)
        assert.deepStrictEqual([...rows.keys()].toSorted(), ["archiving", "asleep", "gone", "lost", "up"])
        for (const id of rows.keys()) {
          const view = Option.getOrThrow(yield* projects.find(given.projectId(id)))
          assert.deepStrictEqual(rows.get(id), routeRow(view), id)
        }
        assert.isNotNull(machine.machineId)
        assert.strictEqual(rows.get("up")?.machineId, machine.machineId)
        assert.strictEqual(rows.get("asleep")?.machineId, null)
        assert.strictEqual((yield* projects.routes([])).size, 0)
      }))
  })

  describe(`${harness.name}: touch`, () => {
    test("moves last_active_at of each that is no tombstone", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const red = yield* given.active("red")
        const blue = yield* given.dormant("blue")
        yield* given.creating("green")
        const tombstone = yield* given.deleted("green")
        yield* advance(hour)
        yield* projects.touch(["red", "blue", "green", "nobody"].map(given.projectId))
        yield* given.assertNear((yield* given.projectOf("red")).lastActiveAt, red.project.lastActiveAt + hour)
        yield* given.assertNear((yield* given.projectOf("blue")).lastActiveAt, blue.project.lastActiveAt + hour)
        assert.deepStrictEqual(yield* given.projectOf("green"), tombstone)
        yield* projects.touch([])
      }))
  })

  describe(`${harness.name}: list`, () => {
    test("newest first, in pages, without the tombstones", () =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 7 }, (_, i) => `p${i}`)
        for (const id of ids) {
          yield* given.creating(id)
          yield* advance(second)
        }
        yield* given.deleted("p3")
        const expected = ["p6", "p5", "p4", "p2", "p1", "p0"]
        for (const limit of [1, 2, 3, 6, 100]) assert.deepStrictEqual(yield* listAll(null, limit), expected)
        assert.deepStrictEqual(yield* listAll("deleted", 2), ["p3"])
      }))

    test("complete where many were created at one moment", () =>
      Effect.gen(function* () {
        const ids = ["a-b", "ab", "a0", "a-0", "b", "ab-c", "abc"]
        yield* Effect.forEach(ids, (id) => given.creating(id), { concurrency: "unbounded" })
        for (const limit of [1, 2, 3]) {
          const listed = yield* listAll(null, limit)
          assert.deepStrictEqual(listed.toSorted(), ids.toSorted())
        }
      }))

    test("by state", () =>
      Effect.gen(function* () {
        yield* given.active("red")
        yield* given.dormant("blue")
        yield* given.creating("green")
        assert.deepStrictEqual(yield* listAll("active", 10), ["red"])
        assert.deepStrictEqual((yield* listAll("dormant", 10)).toSorted(), ["blue", "green"])
        assert.deepStrictEqual(yield* listAll("suspended", 10), [])
      }))

    test("what is created meanwhile disturbs no page", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (const id of ["p0", "p1", "p2"]) {
          yield* given.creating(id)
          yield* advance(second)
        }
        const first = yield* projects.list({ state: null, cursor: null, limit: 2 })
        yield* given.creating("p3")
        const next = yield* projects.list({ state: null, cursor: first.next, limit: 2 })
        assert.deepStrictEqual(idsOf([...first.projects, ...next.projects]), ["p2", "p1", "p0"])
        assert.isNull(next.next)
      }))

    test("a cursor that is not ours is Broken", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (const cursor of ["", "nonsense", "%%%", "MTIz", "OjpyZWQ"]) {
          const error = yield* Effect.flip(projects.list({ state: null, cursor, limit: 10 }))
          assert.strictEqual(error.reason, "Broken", cursor)
          assert.isFalse(error.retryable)
        }
      }))
  })

  describe(`${harness.name}: counts and running operations`, () => {
    test("by state and operation; a tombstone has no operation", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("a")
        yield* given.active("b")
        yield* given.archiving("b")
        yield* given.dormant("c")
        yield* given.creating("d")
        yield* given.unavailable("e")
        yield* given.creating("f")
        yield* given.deleted("f")
        assert.deepStrictEqual(yield* projects.counts, {
          states: { active: 3, suspended: 0, dormant: 2, deleted: 1 },
          operations: { none: 3, creating: 1, waking: 0, archiving: 1, rehosting: 0, deleting: 0 },
          dataUnavailable: 1
        })
      }))

    test("running ones by their beginning, whatever was renewed since", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const first = leaseOf((yield* given.creating("first")).project)
        yield* advance(second)
        yield* given.active("second")
        yield* given.archiving("second")
        yield* advance(second)
        yield* given.creating("third")
        yield* given.active("quiet")
        yield* advance(second)
        yield* projects.renew(first, 10 * given.leaseMs)
        assert.deepStrictEqual(idsOf(yield* projects.running(10)), ["first", "second", "third"])
        assert.deepStrictEqual(idsOf(yield* projects.running(2)), ["first", "second"])
      }))

    test("expired leases, the oldest first", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.creating("first")
        yield* advance(10 * second)
        yield* given.active("second")
        yield* given.archiving("second")
        yield* advance(10 * second)
        const kept = leaseOf((yield* given.creating("kept")).project)
        assert.deepStrictEqual(yield* projects.expiredLeases(10), [])
        yield* advance(given.leaseMs)
        yield* projects.renew(kept, given.leaseMs)
        yield* given.active("quiet")
        assert.deepStrictEqual(idsOf(yield* projects.expiredLeases(10)), ["first", "second"])
        assert.deepStrictEqual(idsOf(yield* projects.expiredLeases(1)), ["first"])
      }))
  })

  describe(`${harness.name}: idleCandidates`, () => {
    const candidates = (
      limit = 10,
      after: { readonly lastActiveAt: number; readonly projectId: string } | null = null
    ) =>
      Effect.flatMap(Projects, (projects) =>
        projects.idleCandidates({
          idleMs: 7 * day,
          limit,
          after: after === null ? null : { ...after, projectId: given.projectId(after.projectId) }
        })
      )

    test("those that a sweep may archive, and only those", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        for (const id of ["idle", "pinned", "failing", "busy", "touched", "long", "short"]) yield* given.active(id)
        yield* projects.updateSettings(given.projectId("pinned"), { pinned: true })
        yield* projects.updateSettings(given.projectId("long"), { dormancyThresholdSeconds: 30 * 86_400 })
        yield* projects.updateSettings(given.projectId("short"), { dormancyThresholdSeconds: 60 })
        const { lease } = yield* given.archiving("failing")
        const by = { _tag: "Holder", lease } as const
        const failure = { idleSeconds: null, backoffMs: 8 * day, error: "-" }
        yield* projects.abortArchive({ projectId: lease.projectId, by, ...failure })
        yield* given.dormant("asleep")
        yield* given.unavailable("lost")
        yield* given.creating("creating")

        yield* advance(hour)
        assert.deepStrictEqual(idsOf(yield* candidates()), ["short"])
        yield* advance(6 * day)
        yield* projects.touch([given.projectId("touched")])
        yield* given.archiving("busy")
        yield* advance(day)
        assert.deepStrictEqual(idsOf(yield* candidates()).toSorted(), ["idle", "short"])
        yield* advance(30 * day)
        assert.deepStrictEqual(idsOf(yield* candidates()).toSorted(), ["failing", "idle", "long", "short", "touched"])
      }))

    test("agrees with beginArchive", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.active("red")
        yield* advance(7 * day)
        for (const { projectId } of yield* candidates()) {
          const begin = { projectId, operationId: "a", leaseMs: given.leaseMs, idleMs: 7 * day, force: false }
          assert.strictEqual((yield* projects.beginArchive(begin))._tag, "Begun")
        }
        assert.deepStrictEqual(yield* candidates(), [])
      }))

    test("by the day of their last activity, in pages", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const ids = ["e", "d", "c", "b", "a"]
        for (const id of ids) yield* given.active(id)
        yield* projects.updateSettings(given.projectId("c"), { dormancyThresholdSeconds: 60 })
        for (const id of ids) {
          yield* advance(day)
          yield* projects.touch([given.projectId(id)])
        }
        yield* advance(8 * day)
        const all = yield* candidates()
        assert.deepStrictEqual(idsOf(all), ids)
        assert.strictEqual(all[0]?.lastActiveAt, (yield* given.projectOf("e")).lastActiveAt)
        const paged: Array<string> = []
        let after: { readonly lastActiveAt: number; readonly projectId: string } | null = null
        for (;;) {
          const page: Effect.Success<ReturnType<typeof candidates>> = yield* candidates(2, after)
          paged.push(...idsOf(page))
          const last = page.at(-1)
          if (last === undefined) break
          after = last
        }
        assert.deepStrictEqual(paged, ids)
      }))

    test("pages are complete where many were active at one moment", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const ids = ["a-b", "ab", "a0", "a-0", "b"]
        for (const id of ids) yield* given.active(id)
        yield* projects.touch(ids.map(given.projectId))
        yield* advance(8 * day)
        const paged: Array<string> = []
        let after: { readonly lastActiveAt: number; readonly projectId: string } | null = null
        for (;;) {
          const page: Effect.Success<ReturnType<typeof candidates>> = yield* candidates(1, after)
          const [last] = page
          if (last === undefined) break
          paged.push(last.projectId)
          after = last
        }
        assert.deepStrictEqual(paged.toSorted(), ids.toSorted())
      }))
  })

  describe(`${harness.name}: events`, () => {
    test("newest first, in pages, of one project", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.dormant("red")
        yield* given.active("blue")
        const all = yield* projects.events({ projectId: given.projectId("red"), limit: 100, before: null })
        assert.deepStrictEqual(
          all.map(({ kind }) => kind),
          ["archived", "archive_begun", "woken", "created"]
        )
        for (const event of all) assert.strictEqual(event.projectId, given.projectId("red"))
        const ids = all.map(({ id }) => id)
        assert.deepStrictEqual(
          ids,
          ids.toSorted((a, b) => b - a)
        )
        const first = yield* projects.events({ projectId: given.projectId("red"), limit: 3, before: null })
        const rest = yield* projects.events({
          projectId: given.projectId("red"),
          limit: 3,
          before: given.present(first.at(-1)).id
        })
        assert.deepStrictEqual([...first, ...rest], all)
        assert.deepStrictEqual(
          yield* projects.events({ projectId: given.projectId("nobody"), limit: 3, before: null }),
          []
        )
      }))

    test("each tells when, and in which generation", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.creating("red")
        yield* advance(5 * second)
        yield* projects.failWake({ lease: leaseOf(project), error: "-", retryAfterMs: null })
        yield* given.waking("red")
        const events = yield* projects.events({ projectId: project.projectId, limit: 10, before: null })
        assert.deepStrictEqual(
          events.map(({ generation, kind }) => [kind, generation]),
          [
            ["wake_begun", 2],
            ["wake_failed", 1],
            ["created", 1]
          ]
        )
        yield* given.assertNear(given.present(events[1]).at, project.createdAt + 5 * second)
        yield* given.assertNear(given.present(events[2]).at, project.createdAt)
      }))

    test("record writes one that belongs to no transition", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        const { project } = yield* given.active("red")
        const detail = { r2_key: "red-1", bytes: 12, found: false, reason: null }
        yield* projects.record({ projectId: project.projectId, kind: "object_missing", detail })
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "object_missing")
        assert.deepStrictEqual(event.detail, detail)
        assert.strictEqual(event.generation, project.generation)
        assert.deepStrictEqual(yield* given.projectOf("red"), project)
        yield* projects.record({ projectId: given.projectId("nobody"), kind: "object_missing", detail: {} })
        const none = yield* projects.events({ projectId: given.projectId("nobody"), limit: 1, before: null })
        assert.deepStrictEqual(none, [])
      }))
  })
}
