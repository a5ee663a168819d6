/** `Projects.create`: the row, the claim, sliding windows, idempotency. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { defaultCreateWindows, type Window } from "../../../src/domain/RateLimit.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, day, hour, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const limited = (client: string, windows: ReadonlyArray<Window> = defaultCreateWindows) => ({
  limit: { client, windows }
})

/** Creates `count` projects for one client and returns how each was answered. */
const createMany = (prefix: string, count: number, client = "203.0.113.7") =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => `${prefix}-${i}`),
    (id) => given.create(id, limited(client))
  )

const retryAfter = (id: string, client = "203.0.113.7") =>
  Effect.map(given.create(id, limited(client)), (outcome) => {
    assert.strictEqual(outcome._tag, "RateLimited")
    return outcome._tag === "RateLimited" ? outcome.retryAfterMs : 0
  })

const assertAllBegun = (outcomes: ReadonlyArray<{ readonly _tag: string }>) =>
  assert.deepStrictEqual(
    outcomes.map(({ _tag }) => _tag),
    outcomes.map(() => "Begun")
  )

export const createContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: create`, () => {
    test("inserts the row, dormant and creating at generation 1", () =>
      Effect.gen(function* () {
        const { archive, machine, project } = yield* given.creating("red", { idleTimeoutSeconds: 120 })
        assert.isNull(machine)
        assert.isNull(archive)
        const { createdAt, lastActiveAt, leaseUntil, ...rest } = project
        assert.deepStrictEqual(rest, {
          projectId: given.projectId("red"),
          uid: "uid-red",
          state: "dormant",
          operation: "creating",
          operationId: "create-red",
          generation: 1,
          uploading: false,
          machine: null,
          region: given.region,
          dirty: false,
          dataUnavailable: false,
          deployKey: { sealed: "sealed-red", keyId: "k1" },
          settings: { idleTimeoutSeconds: 120, dormancyThresholdSeconds: null, pinned: false },
          attempts: 0,
          nextAttemptAt: null,
          lastError: null,
          deletedAt: null
        })
        assert.strictEqual(lastActiveAt, createdAt)
        assert.strictEqual(leaseUntil, createdAt + given.leaseMs)
        assert.deepStrictEqual(yield* given.viewOf("red"), { project, machine: null })
        assert.deepStrictEqual(yield* given.eventKinds("red"), ["created"])
      }))

    test("claims the oldest ready machine of that image and region", () =>
      Effect.gen(function* () {
        yield* given.ready("elsewhere", { region: "syd" })
        yield* given.ready("older", { image: "registry.fly.io/app:v0" })
        yield* advance(second)
        yield* given.ready("zfirst")
        yield* advance(second)
        yield* given.ready("asecond")
        const { machine } = yield* given.creating("red", { claim: given.claim })
        assert.strictEqual(machine?.name, given.machineName("zfirst"))
        assert.strictEqual(machine?.status, "assigned")
        assert.strictEqual(machine?.project, given.projectId("red"))
        assert.strictEqual(machine?.generation, 1)
        assert.strictEqual(machine?.served, false)
        assert.deepStrictEqual(yield* given.rowOf("zfirst"), machine)
        assert.isNull((yield* given.projectOf("red")).machine)

        const next = yield* given.creating("blue", { claim: given.claim })
        assert.strictEqual(next.machine?.name, given.machineName("asecond"))
        const third = yield* given.creating("green", { claim: given.claim })
        assert.isNull(third.machine)
      }))

    test("never takes a machine that nobody asked for", () =>
      Effect.gen(function* () {
        yield* given.ready("one")
        assert.isNull((yield* given.creating("red")).machine)
        assert.strictEqual((yield* given.rowOf("one")).status, "ready")
      }))

    test("hands no machine out twice to concurrent creates", () =>
      Effect.gen(function* () {
        yield* Effect.forEach(["a", "b", "c", "d", "e"], (name) => given.ready(name))
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 15 }, (_, i) => i),
          (i) => given.creating(`p${i}`, { claim: given.claim }),
          { concurrency: "unbounded" }
        )
        const names = outcomes.flatMap(({ machine }) => (machine === null ? [] : [machine.name]))
        assert.strictEqual(new Set(names).size, names.length)
        assert.deepStrictEqual(names.toSorted().map(String), ["a", "b", "c", "d", "e"])
      }))

    test("refuses an id that was used before, by a living project or a tombstone", () =>
      Effect.gen(function* () {
        yield* given.creating("red")
        assert.deepStrictEqual(yield* given.create("red", { uid: "other" }), { _tag: "Exists" })
        yield* given.deleted("red")
        assert.deepStrictEqual(yield* given.create("red", { uid: "another" }), { _tag: "Exists" })
        assert.strictEqual((yield* given.projectOf("red")).uid, "uid-red")
      }))

    test("lets exactly one of many concurrent creates have an id, and loses no machine by it", () =>
      Effect.gen(function* () {
        yield* Effect.forEach(["a", "b", "c"], (name) => given.ready(name))
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => given.create("red", { uid: `uid-${i}`, operationId: `create-${i}`, claim: given.claim }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(given.isBegun).length, 1)
        assert.strictEqual(outcomes.filter(({ _tag }) => _tag === "Exists").length, 19)
        const statuses = yield* Effect.forEach(["a", "b", "c"], (name) => given.rowOf(name))
        assert.strictEqual(statuses.filter((row) => row.status === "ready").length, 2)
      }))
  })

  describe(`${harness.name}: create, sliding windows`, () => {
    test("three in a minute; the fourth waits until the first is a minute old", () =>
      Effect.gen(function* () {
        assertAllBegun(yield* createMany("a", 1))
        yield* advance(20 * second)
        assertAllBegun(yield* createMany("b", 2))
        yield* given.assertNear(yield* retryAfter("c"), 40 * second)
        yield* advance(30 * second)
        const wait = yield* retryAfter("c")
        yield* given.assertNear(wait, 10 * second)
        yield* advance(wait)
        yield* given.settle
        assertAllBegun(yield* createMany("c", 1))
        yield* given.assertNear(yield* retryAfter("d"), 20 * second)
      }))

    test("six in a quarter of an hour", () =>
      Effect.gen(function* () {
        assertAllBegun(yield* createMany("a", 3))
        yield* advance(2 * minute)
        assertAllBegun(yield* createMany("b", 3))
        yield* advance(2 * minute)
        const wait = yield* retryAfter("c")
        yield* given.assertNear(wait, 11 * minute)
        yield* advance(wait)
        yield* given.settle
        assertAllBegun(yield* createMany("c", 3))
        yield* given.assertNear(yield* retryAfter("d"), 2 * minute)
      }))

    test("fifteen in an hour", () =>
      Effect.gen(function* () {
        for (const batch of ["a", "b", "c", "d", "e"]) {
          assertAllBegun(yield* createMany(batch, 3))
          yield* advance(10 * minute)
        }
        yield* given.assertNear(yield* retryAfter("f"), 10 * minute)
        yield* advance(9 * minute)
        const wait = yield* retryAfter("f")
        yield* given.assertNear(wait, minute)
        yield* advance(wait)
        yield* given.settle
        assertAllBegun(yield* createMany("f", 3))
      }))

    test("only accepted creates count", () =>
      Effect.gen(function* () {
        assertAllBegun(yield* createMany("a", 3))
        yield* advance(30 * second)
        yield* Effect.forEach([1, 2, 3, 4, 5], (i) => retryAfter(`refused-${i}`))
        yield* advance(30 * second)
        assertAllBegun(yield* createMany("b", 1))
        const exists = yield* given.create("a-0", { uid: "other", ...limited("203.0.113.7") })
        assert.strictEqual(exists._tag, "Exists")
        assertAllBegun(yield* createMany("c", 2))
      }))

    test("each client for itself; without a limit there is none", () =>
      Effect.gen(function* () {
        assertAllBegun(yield* createMany("a", 3))
        assertAllBegun(yield* createMany("b", 3, "2001:db8::/64"))
        yield* retryAfter("c")
        yield* Effect.forEach(
          Array.from({ length: 10 }, (_, i) => `free-${i}`),
          (id) => given.creating(id)
        )
        yield* retryAfter("d")
      }))

    test("a refused create leaves no row and claims nothing", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.ready("one")
        assertAllBegun(yield* createMany("a", 3))
        yield* given.create("late", { claim: given.claim, ...limited("203.0.113.7") })
        assert.strictEqual((yield* projects.find(given.projectId("late")))._tag, "None")
        assert.strictEqual((yield* given.rowOf("one")).status, "ready")
      }))

    test("exact when twenty ask at once", () =>
      Effect.gen(function* () {
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => `p${i}`),
          (id) => given.create(id, limited("203.0.113.7")),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(given.isBegun).length, 3)
        assert.strictEqual(outcomes.filter(({ _tag }) => _tag === "RateLimited").length, 17)
      }))
  })

  describe(`${harness.name}: create, idempotency`, () => {
    const key = { idempotency: { client: "203.0.113.7", key: "k" } }

    test("the same key from the same client gets the first project as it is now", () =>
      Effect.gen(function* () {
        const first = yield* given.creating("red", { ...key, ...limited("203.0.113.7") })
        const view = yield* given.comeUp(leaseOf(first.project))
        yield* advance(day - minute)
        const again = yield* given.create("blue", { ...key, ...limited("203.0.113.7") })
        assert.deepStrictEqual(again, { _tag: "Repeated", view })
        const projects = yield* Projects
        assert.strictEqual((yield* projects.find(given.projectId("blue")))._tag, "None")
      }))

    test("repeating neither counts nor is limited", () =>
      Effect.gen(function* () {
        yield* given.creating("red", { ...key, ...limited("203.0.113.7") })
        for (let i = 0; i < 5; i++) {
          assert.strictEqual((yield* given.create("blue", { ...key, ...limited("203.0.113.7") }))._tag, "Repeated")
        }
        assertAllBegun(yield* createMany("a", 2))
        yield* retryAfter("b")
        assert.strictEqual((yield* given.create("blue", { ...key, ...limited("203.0.113.7") }))._tag, "Repeated")
      }))

    test("another client's key is another key", () =>
      Effect.gen(function* () {
        yield* given.creating("red", key)
        yield* given.creating("blue", { idempotency: { client: "198.51.100.1", key: "k" } })
        yield* given.creating("green", { idempotency: { client: "203.0.113.7", key: "K" } })
      }))

    test("after 24 hours the key is free", () =>
      Effect.gen(function* () {
        yield* given.creating("red", key)
        yield* advance(24 * hour)
        yield* given.creating("blue", key)
        const again = yield* given.create("green", key)
        assert.strictEqual(again._tag === "Repeated" && again.view.project.projectId, given.projectId("blue"))
      }))

    test("a create that was refused does not hold the key", () =>
      Effect.gen(function* () {
        yield* given.creating("red")
        assert.strictEqual((yield* given.create("red", { uid: "other", ...key }))._tag, "Exists")
        yield* given.creating("blue", key)
      }))

    test("of many at once one creates, and all get its project", () =>
      Effect.gen(function* () {
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => `p${i}`),
          (id) => given.create(id, { ...key, ...limited("203.0.113.7") }),
          { concurrency: "unbounded" }
        )
        const created = outcomes.filter(given.isBegun)
        assert.strictEqual(created.length, 1)
        const others = outcomes.flatMap((outcome) => (outcome._tag === "Repeated" ? [outcome.view.project] : []))
        assert.strictEqual(others.length, 19)
        for (const { projectId } of others) assert.strictEqual(projectId, created[0]?.project.projectId)
      }))
  })
}
