/** What listings of Fly tell: display state, moved volumes, addresses, strays. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines, type Observation } from "../../../src/services/db/Machines.ts"
import * as given from "./Given.ts"
import { advance, hour, minute, type StoreHarness, testsOn } from "./StoreHarness.ts"

const seen = (machineId: string | null, changes: Partial<Observation> = {}): Observation => ({
  machineId: given.present(machineId),
  state: null,
  volumeId: null,
  privateIp: null,
  ...changes
})

const observing = (...observations: ReadonlyArray<Observation>) =>
  Effect.flatMap(Machines, (machines) => machines.observe(observations))

const observe = (...observations: ReadonlyArray<Observation>) =>
  Effect.map(observing(...observations), ({ changed }) => ({ changed }))

export const observeContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: observe`, () => {
    test("active ⇄ suspended, with events, and nothing else of the project", () =>
      Effect.gen(function* () {
        const { machine, project } = yield* given.active("red")
        yield* advance(minute)
        const asleep = seen(machine.machineId, { state: "suspended" })
        assert.deepStrictEqual(yield* observe(asleep), { changed: 1 })
        assert.deepStrictEqual(yield* given.viewOf("red"), { project: { ...project, state: "suspended" }, machine })
        assert.strictEqual((yield* given.lastEvent("red")).kind, "suspended")
        assert.deepStrictEqual(yield* observe(asleep), { changed: 0 })
        assert.deepStrictEqual(yield* observe(seen(machine.machineId, { state: "active" })), { changed: 1 })
        assert.deepStrictEqual(yield* given.viewOf("red"), { project, machine })
        assert.deepStrictEqual((yield* given.eventKinds("red")).slice(-2), ["suspended", "resumed"])
      }))

    test("tells which projects resumed, once", () =>
      Effect.gen(function* () {
        const red = yield* given.active("red")
        const blue = yield* given.active("blue")
        const both = (state: "active" | "suspended") =>
          observing(seen(red.machine.machineId, { state }), seen(blue.machine.machineId, { state }))
        assert.deepStrictEqual(yield* both("suspended"), { changed: 2, resumed: [] })
        assert.deepStrictEqual(yield* both("active"), {
          changed: 2,
          resumed: [red.project.projectId, blue.project.projectId]
        })
        assert.deepStrictEqual(yield* both("active"), { changed: 0, resumed: [] })
      }))

    test("never what is not awake, nor by another machine of the project", () =>
      Effect.gen(function* () {
        const old = yield* given.active("red")
        const { project } = yield* given.archived("red", "red-1")
        assert.deepStrictEqual(yield* observe(seen(old.machine.machineId, { state: "active" })), { changed: 0 })
        assert.deepStrictEqual(yield* given.projectOf("red"), project)
        const woken = yield* given.comeUp(leaseOf((yield* given.waking("red")).project))
        yield* observe(seen(old.machine.machineId, { state: "suspended" }))
        assert.deepStrictEqual(yield* given.viewOf("red"), woken)
        yield* given.active("blue")
        yield* given.rehosting("blue", given.present((yield* given.projectOf("blue")).machine))
        const blue = yield* given.viewOf("blue")
        yield* given.ready("pool1")
        yield* observe(
          seen("m-unknown", { state: "suspended" }),
          seen("m-pool1", { state: "suspended" }),
          seen(blue.machine?.machineId ?? null, { state: null })
        )
        assert.deepStrictEqual(yield* given.viewOf("blue"), blue)
        assert.strictEqual((yield* given.rowOf("pool1")).status, "ready")
      }))

    test("a migration keeps the machine's id and changes its volume's: the row follows", () =>
      Effect.gen(function* () {
        const { machine, project } = yield* given.active("red")
        const moved = seen(machine.machineId, { state: "active", volumeId: "vol-new", privateIp: "fdaa::9" })
        assert.deepStrictEqual(yield* observe(moved), { changed: 1 })
        const row = yield* given.rowOf(machine.name)
        assert.strictEqual(row.volumeId, "vol-new")
        assert.strictEqual(row.privateIp, "fdaa::9")
        assert.strictEqual(row.status, "assigned")
        assert.deepStrictEqual(yield* given.projectOf("red"), project)
        const event = yield* given.lastEvent("red")
        assert.strictEqual(event.kind, "volume_moved")
        assert.strictEqual(event.detail["to"], "vol-new")
        assert.deepStrictEqual(yield* observe(moved), { changed: 0 })
      }))

    test("what a listing does not tell stays as it is", () =>
      Effect.gen(function* () {
        const { machine } = yield* given.active("red")
        assert.deepStrictEqual(yield* observe(seen(machine.machineId)), { changed: 0 })
        assert.deepStrictEqual(yield* given.rowOf(machine.name), machine)
        assert.deepStrictEqual(yield* observe(), { changed: 0 })
      }))

    test("rows of the pool follow as well, without an event", () =>
      Effect.gen(function* () {
        yield* given.ready("pool1")
        assert.deepStrictEqual(yield* observe(seen("m-pool1", { volumeId: "vol-new" })), { changed: 1 })
        assert.strictEqual((yield* given.rowOf("pool1")).volumeId, "vol-new")
      }))

    test("many machines in one pass", () =>
      Effect.gen(function* () {
        const observations: Array<Observation> = []
        for (const id of ["a", "b", "c"]) {
          const { machine } = yield* given.active(id)
          observations.push(seen(machine.machineId, { state: "suspended" }))
        }
        assert.deepStrictEqual(yield* observe(...observations), { changed: 3 })
        for (const id of ["a", "b", "c"]) assert.strictEqual((yield* given.projectOf(id)).state, "suspended")
      }))
  })

  describe(`${harness.name}: strays`, () => {
    const look = (kind: "machine" | "volume", ...ids: ReadonlyArray<string>) =>
      Effect.flatMap(Machines, (machines) =>
        machines.lookAtStrays(
          kind,
          ids.map((id) => ({ id, name: `name-${id}` })),
          hour
        )
      ).pipe(Effect.map((found) => found.toSorted()))

    test("are told after two looks with an hour between", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* look("machine", "x", "y"), [])
        yield* advance(30 * minute)
        assert.deepStrictEqual(yield* look("machine", "x", "y"), [])
        yield* advance(30 * minute)
        assert.deepStrictEqual(yield* look("machine", "x", "y", "z"), ["x", "y"])
        assert.deepStrictEqual(yield* look("machine", "x"), ["x"])
      }))

    test("one look is not enough, however long ago", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* look("machine", "x"), [])
        yield* advance(5 * hour)
        assert.deepStrictEqual(yield* look("volume", "x"), [])
        assert.deepStrictEqual(yield* look("machine", "y"), [])
        assert.deepStrictEqual(yield* look("machine", "x", "y"), [])
      }))

    test("two looks it takes, however short the age", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const look = machines.lookAtStrays("volume", [{ id: "v", name: "name" }], 0)
        assert.deepStrictEqual(yield* look, [])
        assert.deepStrictEqual(yield* look, ["v"])
      }))

    test("one that was not seen any more begins anew", () =>
      Effect.gen(function* () {
        yield* look("machine", "x")
        yield* advance(hour)
        yield* look("machine")
        assert.deepStrictEqual(yield* look("machine", "x"), [])
        yield* advance(hour)
        assert.deepStrictEqual(yield* look("machine", "x"), ["x"])
      }))

    test("machines and volumes apart", () =>
      Effect.gen(function* () {
        yield* look("machine", "x")
        yield* look("volume", "v")
        yield* advance(hour)
        assert.deepStrictEqual(yield* look("volume", "v"), ["v"])
        assert.deepStrictEqual(yield* look("machine", "x"), ["x"])
      }))

    test("an id that stands in a living row by now is none", () =>
      Effect.gen(function* () {
        yield* look("machine", "m-pool1", "x")
        yield* look("volume", "vol-pool1")
        yield* given.ready("pool1")
        yield* advance(hour)
        assert.deepStrictEqual(yield* look("machine", "m-pool1", "x"), ["x"])
        assert.deepStrictEqual(yield* look("volume", "vol-pool1"), [])
      }))
  })
}
