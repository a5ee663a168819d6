/** The archive ledger's own transitions. What operations do to it is told with them. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Archives } from "../../../src/services/db/Archives.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, hour, minute, type StoreHarness, testsOn } from "./StoreHarness.ts"

const keysOf = (rows: ReadonlyArray<{ readonly r2Key: string }>) => rows.map(({ r2Key }) => r2Key)

/** An upload that was given up: discarded, its URL good for another quarter of an hour. */
const aborted = (id: string, r2Key: string) =>
  Effect.gen(function* () {
    const projects = yield* Projects
    const { lease, project } = yield* given.uploading(id, r2Key)
    const by = { _tag: "Holder", lease } as const
    yield* projects.abortArchive({ projectId: project.projectId, by, idleSeconds: null, backoffMs: null, error: null })
  })

export const archivesContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: archives`, () => {
    test("current is the project's, by its uid", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        yield* given.dormant("red", "red-1")
        yield* given.dormant("blue", "blue-1")
        const current = yield* archives.current("uid-red")
        assert.deepStrictEqual(
          Option.map(current, ({ r2Key }) => r2Key),
          Option.some("red-1")
        )
        assert.deepStrictEqual(yield* archives.current("red"), Option.none())
      }))

    test("the bin holds discarded rows whose URL expired a margin ago", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        const bin = (limit = 10) => Effect.map(archives.bin({ marginMs: 10 * minute, limit }), keysOf)
        yield* given.dormant("blue", "blue-1")
        yield* given.active("red")
        yield* aborted("red", "red-1")
        yield* advance(minute)
        yield* aborted("red", "red-2")
        yield* advance(22 * minute)
        assert.deepStrictEqual(yield* bin(), [])
        yield* advance(2 * minute)
        assert.deepStrictEqual(yield* bin(), ["red-1"])
        yield* advance(minute)
        assert.deepStrictEqual((yield* bin()).toSorted(), ["red-1", "red-2"])
        assert.strictEqual((yield* bin(1)).length, 1)
      }))

    test("a failure puts the next attempt off", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        yield* given.active("red")
        yield* aborted("red", "red-1")
        yield* advance(hour)
        yield* archives.noteFailure("red-1", "503", 5 * minute)
        assert.deepStrictEqual(yield* archives.bin({ marginMs: 0, limit: 10 }), [])
        const [row] = yield* archives.living
        assert.strictEqual(row?.attempts, 1)
        assert.strictEqual(row?.lastError, "503")
        yield* advance(5 * minute)
        assert.deepStrictEqual(keysOf(yield* archives.bin({ marginMs: 0, limit: 10 })), ["red-1"])
        yield* archives.noteFailure("nothing", "-", 0)
      }))

    test("only a discarded row becomes gone, and leaves the ledger of what lives", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        yield* given.dormant("red", "red-1")
        yield* given.active("blue")
        yield* given.uploading("blue", "blue-1")
        yield* given.active("green")
        yield* aborted("green", "green-1")
        assert.isFalse(yield* archives.markGone("red-1"))
        assert.isFalse(yield* archives.markGone("blue-1"))
        assert.isFalse(yield* archives.markGone("nothing"))
        assert.isTrue(yield* archives.markGone("green-1"))
        assert.isFalse(yield* archives.markGone("green-1"))
        assert.deepStrictEqual(keysOf(yield* archives.living).toSorted(), ["blue-1", "red-1"])
        yield* advance(hour)
        assert.deepStrictEqual(yield* archives.bin({ marginMs: 0, limit: 10 }), [])
      }))

    test("no upload of a running operation is abandoned, whatever its lease says", () =>
      Effect.gen(function* () {
        const archives = yield* Archives
        const projects = yield* Projects
        yield* given.active("red")
        const { lease } = yield* given.uploading("red", "red-1")
        yield* advance(hour)
        assert.strictEqual(yield* archives.discardAbandoned(10), 0)
        const raised = given.present(yield* projects.raiseGeneration(lease, 50))
        assert.strictEqual(yield* archives.discardAbandoned(10), 0)
        const commit = { r2Key: "red-1", r2Checksum: given.checksum, size: 1, machineDeleteAfterMs: 0 }
        assert.isTrue(yield* projects.commitArchive({ lease: raised, ...commit }))
      }))

    test("the archive of an operation that ended is out of reach of the next", () =>
      Effect.gen(function* () {
        const projects = yield* Projects
        yield* given.dormant("red", "red-1")
        yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        yield* aborted("red", "red-2")
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "current", "red-2": "discarded" })
        const { lease } = yield* given.archiving("red")
        assert.isFalse(yield* projects.startUpload({ lease, r2Key: "red-1", urlExpiresInMs: minute }))
        assert.isFalse(yield* projects.startUpload({ lease, r2Key: "red-2", urlExpiresInMs: minute }))
        assert.deepStrictEqual(yield* given.archiveStatuses("red"), { "red-1": "current", "red-2": "discarded" })
      }))
  })
}
