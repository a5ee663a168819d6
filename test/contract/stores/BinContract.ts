/** The bin: what is due, what failed, what is confirmed gone; and rows that nobody owns any more. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, day, hour, minute, second, type StoreHarness, testsOn } from "./StoreHarness.ts"

const { machineName } = given
const namesOf = (rows: ReadonlyArray<{ readonly name: string }>) => rows.map(({ name }) => String(name))

/** A pool row in the bin, without ids or with both. */
const binned = (name: string, withIds = true) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    if (withIds) yield* given.ready(name)
    else yield* machines.insertPool(given.newMachine(name), given.maxMachines)
    assert.isTrue(yield* machines.discard({ name: machineName(name), from: ["provisioning", "ready"], reason: "test" }))
    return machineName(name)
  })

const gone = (name: string) =>
  Effect.gen(function* () {
    const machines = yield* Machines
    yield* binned(name)
    yield* machines.recordGone(machineName(name), "machine")
    yield* machines.recordGone(machineName(name), "volume")
    assert.isTrue(yield* machines.markGone(machineName(name)))
  })

export const binContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: bin`, () => {
    test("discarded rows whose next attempt is due, the oldest first", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        for (const name of ["b", "a", "c"]) {
          yield* binned(name)
          yield* advance(second)
        }
        yield* given.ready("pool1")
        assert.deepStrictEqual(namesOf(yield* machines.bin(10)), ["b", "a", "c"])
        assert.deepStrictEqual(namesOf(yield* machines.bin(2)), ["b", "a"])
        yield* machines.noteFailure(machineName("b"), "412", minute)
        assert.deepStrictEqual(namesOf(yield* machines.bin(10)), ["a", "c"])
        const failed = yield* given.rowOf("b")
        assert.strictEqual(failed.attempts, 1)
        assert.strictEqual(failed.lastError, "412")
        yield* advance(minute)
        assert.deepStrictEqual(namesOf(yield* machines.bin(10)).toSorted(), ["a", "b", "c"])
        assert.deepStrictEqual(namesOf(yield* machines.bin(2)).toSorted(), ["a", "c"])
        yield* machines.noteFailure(machineName("b"), "412 again", minute)
        assert.strictEqual((yield* given.rowOf("b")).attempts, 2)
        yield* machines.noteFailure(machineName("nothing"), "-", minute)
      }))

    test("counts: all, those whose volume must stay, those that fail", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        assert.deepStrictEqual(yield* machines.binCounts, { discarded: 0, kept: 0, failing: 0 })
        yield* binned("a")
        yield* binned("b")
        yield* machines.noteFailure(machineName("b"), "-", minute)
        yield* given.dormant("red")
        yield* given.unavailable("blue")
        yield* projects.recover({ projectId: given.projectId("blue"), from: "empty" })
        yield* gone("c")
        assert.deepStrictEqual(yield* machines.binCounts, { discarded: 4, kept: 1, failing: 1 })
      }))

    test("a confirmed id is forgotten, in the bin only", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* given.ready("pool1")
        const before = yield* given.rowOf("pool1")
        yield* machines.recordGone(machineName("pool1"), "machine")
        assert.deepStrictEqual(yield* given.rowOf("pool1"), before)
        yield* binned("a")
        yield* machines.recordGone(machineName("a"), "machine")
        const row = yield* given.rowOf("a")
        assert.isNull(row.machineId)
        assert.strictEqual(row.volumeId, "vol-a")
        assert.strictEqual(row.status, "discarded")
        yield* machines.recordGone(machineName("nothing"), "volume")
      }))
  })

  describe(`${harness.name}: markGone`, () => {
    test("with both deletions on record, at once", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const name = yield* binned("a")
        assert.isFalse(yield* machines.markGone(name))
        yield* machines.recordGone(name, "machine")
        assert.isFalse(yield* machines.markGone(name))
        yield* machines.recordGone(name, "volume")
        assert.isTrue(yield* machines.markGone(name))
        assert.strictEqual((yield* given.rowOf("a")).status, "gone")
        assert.isFalse(yield* machines.markGone(name))
        assert.deepStrictEqual(yield* machines.bin(10), [])
        assert.deepStrictEqual(yield* machines.living, [])
      }))

    test("only from the bin", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        yield* machines.countAbsent([machineName("pool1")])
        yield* machines.countAbsent([machineName("pool1")])
        yield* advance(hour)
        assert.isFalse(yield* machines.markGone(machineName("pool1")))
        assert.isFalse(yield* machines.markGone(machineName("nothing")))
      }))

    test("never had ids: after 15 minutes in the bin and two listings without it", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const name = yield* binned("a", false)
        yield* machines.countAbsent([name])
        yield* machines.countAbsent([name])
        assert.strictEqual((yield* given.rowOf("a")).absentLooks, 2)
        yield* advance(14 * minute)
        assert.isFalse(yield* machines.markGone(name))
        yield* advance(minute)
        assert.isTrue(yield* machines.markGone(name))
      }))

    test("one listing is not enough, however old the row", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const name = yield* binned("a", false)
        yield* machines.countAbsent([name])
        yield* advance(day)
        assert.isFalse(yield* machines.markGone(name))
        yield* machines.countAbsent([name])
        assert.isTrue(yield* machines.markGone(name))
      }))

    test("a listing that shows it starts the count anew", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const a = yield* binned("a", false)
        const b = yield* binned("b", false)
        yield* machines.countAbsent([a, b])
        yield* machines.countAbsent([b])
        assert.strictEqual((yield* given.rowOf("a")).absentLooks, 0)
        assert.strictEqual((yield* given.rowOf("b")).absentLooks, 2)
        yield* machines.countAbsent([a, b])
        yield* advance(hour)
        assert.isFalse(yield* machines.markGone(a))
        assert.isTrue(yield* machines.markGone(b))
      }))

    test("half a record is none: a lost create of the other half may still happen", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* machines.insertPool(given.newMachine("a"), 10)
        const name = machineName("a")
        yield* machines.recordVolume(name, { volumeId: "vol-a", region: given.region })
        yield* machines.discard({ name, from: ["provisioning"], reason: "-" })
        yield* machines.recordGone(name, "volume")
        yield* machines.recordGone(name, "machine")
        assert.isFalse(yield* machines.markGone(name))
        yield* advance(15 * minute)
        assert.isFalse(yield* machines.markGone(name))
        yield* machines.countAbsent([name])
        yield* machines.countAbsent([name])
        assert.isTrue(yield* machines.markGone(name))
      }))

    test("without ids, after as long as the caller says", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const name = yield* binned("a", false)
        yield* machines.countAbsent([name])
        yield* machines.countAbsent([name])
        yield* advance(minute)
        assert.isFalse(yield* machines.markGone(name, 2 * minute))
        assert.isTrue(yield* machines.markGone(name, minute))
      }))

    test("failing meanwhile does not start the 15 minutes anew", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const name = yield* binned("a", false)
        yield* advance(10 * minute)
        yield* machines.noteFailure(name, "-", minute)
        yield* machines.countAbsent([name])
        yield* machines.countAbsent([name])
        yield* advance(5 * minute)
        assert.isTrue(yield* machines.markGone(name))
      }))
  })

  describe(`${harness.name}: purge and living`, () => {
    test("forgets gone rows of that age, and no others", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* gone("a")
        yield* gone("b")
        yield* binned("c")
        yield* advance(29 * day)
        assert.strictEqual(yield* machines.purge(30 * day, 10), 0)
        assert.strictEqual((yield* given.rowOf("a")).status, "gone")
        yield* advance(day)
        yield* gone("d")
        assert.strictEqual(yield* machines.purge(30 * day, 1), 1)
        assert.strictEqual(yield* machines.purge(30 * day, 10), 1)
        assert.isNull(yield* machines.find(machineName("a")))
        assert.isNull(yield* machines.find(machineName("b")))
        assert.isNotNull(yield* machines.find(machineName("c")))
        assert.isNotNull(yield* machines.find(machineName("d")))
      }))

    test("living is every row that is not gone", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        yield* gone("a")
        yield* binned("b")
        yield* given.ready("c")
        const { machine } = yield* given.active("red")
        assert.deepStrictEqual(namesOf(yield* machines.living).toSorted(), ["b", "c", String(machine.name)].toSorted())
      }))

    test("ofProject also shows what lies in the bin or is gone", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const { machine } = yield* given.active("red")
        yield* given.archived("red", "red-1")
        yield* machines.recordGone(machine.name, "machine")
        yield* machines.recordGone(machine.name, "volume")
        yield* machines.markGone(machine.name)
        yield* advance(second)
        const view = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        assert.deepStrictEqual(
          (yield* machines.ofProject(given.projectId("red"))).map(({ name, status }) => [name, status]),
          [
            [machine.name, "gone"],
            [given.present(view.project.machine), "assigned"]
          ]
        )
        assert.deepStrictEqual(yield* machines.ofProject(given.projectId("nobody")), [])
      }))
  })

  describe(`${harness.name}: rows that nobody owns`, () => {
    test("assigned, but no project's machine and no operation's: discarded", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        yield* given.active("serving")
        yield* given.ready("claimed1")
        yield* given.creating("waking", { claim: given.claim })
        const { machine } = yield* given.active("rehosting")
        yield* given.rehosting("rehosting", machine.name)
        assert.strictEqual(yield* machines.discardUnnamed(10), 0)

        // An operation that claims a second machine leaves the first behind until it ends.
        yield* given.ready("claimed2")
        const lease = leaseOf(yield* given.projectOf("waking"))
        const claimed = yield* machines.claimNext({
          lease,
          discard: machineName("nothing"),
          reason: "-",
          claim: given.claim
        })
        assert.strictEqual(claimed?.name, machineName("claimed2"))
        assert.strictEqual(yield* machines.discardUnnamed(10), 0)
        yield* projects.commitActive({ lease, machine: machineName("claimed2") })
        assert.strictEqual(yield* machines.discardUnnamed(10), 0)
        assert.strictEqual((yield* given.rowOf("claimed1")).status, "discarded")
      }))

    test("provisioning for too long while its operation is over: discarded", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        yield* machines.insertPool(given.newMachine("pool1"), 10)
        const running = leaseOf((yield* given.creating("red")).project)
        yield* machines.insertFor(running, given.newMachine("cold1"), 10)
        yield* given.ready("ready1")
        yield* advance(9 * minute)
        assert.strictEqual(yield* machines.discardAbandoned(10 * minute, 10), 0)
        yield* advance(minute)
        yield* machines.insertPool(given.newMachine("young"), 10)
        yield* projects.renew(running, given.leaseMs)
        assert.strictEqual(yield* machines.discardAbandoned(10 * minute, 10), 1)
        assert.strictEqual((yield* given.rowOf("pool1")).status, "discarded")
        for (const name of ["cold1", "young"]) assert.strictEqual((yield* given.rowOf(name)).status, "provisioning")
        assert.strictEqual((yield* given.rowOf("ready1")).status, "ready")
      }))

    test("no more of them than the limit", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        for (const name of ["a", "b", "c"]) {
          yield* machines.insertPool(given.newMachine(name), 10)
          yield* advance(second)
        }
        yield* advance(hour)
        assert.strictEqual(yield* machines.discardAbandoned(minute, 2), 2)
        assert.strictEqual((yield* given.rowOf("c")).status, "provisioning")
        assert.strictEqual(yield* machines.discardAbandoned(minute, 2), 1)
      }))
  })
}
