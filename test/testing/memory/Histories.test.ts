/** Random histories on the memory stores: what must be true of the rows after every step, and the same again. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { eventKinds } from "../../../src/domain/Event.ts"
import type { ProjectId } from "../../../src/domain/ProjectId.ts"
import { MemoryDatabase, type Snapshot } from "../../../src/testing/memory/MemoryDatabase.ts"
import { layerMemoryStores } from "../../../src/testing/memory/MemoryStores.ts"
import { history, runHistory } from "../../contract/stores/histories.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"

const time = Layer.succeed(StoreTime, { advance: (ms) => TestClock.adjust(ms), driftMs: 0 })
const stores = Layer.fresh(Layer.merge(layerMemoryStores, time))

const check = ({ archives, machines, projects }: Snapshot, generations: Map<ProjectId, number>, where: string) => {
  const byName = new Map(machines.map((row) => [row.name, row]))
  for (const project of projects.values()) {
    const id = project.projectId
    const awake = project.state === "active" || project.state === "suspended"
    assert.strictEqual(project.machine !== null, awake, `${where}: ${id} has a machine while awake, and only then`)
    assert.strictEqual(project.dirty, awake, `${where}: ${id} is dirty while awake, and only then`)
    assert.strictEqual(project.operation === "none", project.operationId === null)
    assert.strictEqual(project.operation === "none", project.leaseUntil === null)
    assert.isTrue(!project.uploading || project.operation === "archiving")
    assert.isAtLeast(project.generation, generations.get(id) ?? 0, `${where}: ${id}'s generation never falls`)
    generations.set(id, project.generation)

    const serving = project.machine === null ? undefined : byName.get(project.machine)
    if (awake) {
      assert.strictEqual(serving?.status, "assigned", `${where}: ${id}'s machine is assigned`)
      assert.isTrue(serving?.served === true && !serving.released, `${where}: ${id}'s volume must stay`)
    }
    const own = archives.filter((row) => row.projectUid === project.uid)
    assert.isAtMost(own.filter((row) => row.status === "current").length, 1)
    const uploads = own.filter((row) => row.status === "uploading")
    assert.isTrue(uploads.length === 0 || project.uploading, `${where}: ${id} uploads only while archiving`)
    if (project.state === "deleted") assert.isTrue(own.every((row) => row.status === "discarded"))
  }
  for (const row of machines) {
    const owner = row.project === null ? undefined : projects.get(row.project)
    if (row.status === "ready") assert.isTrue(row.project === null && row.machineId !== null && row.volumeId !== null)
    if (row.served && !row.released) {
      const kept = row.status === "discarded" || row.status === "gone" || owner?.machine === row.name
      assert.isTrue(kept, `${where}: ${row.name} holds a project's only data and is nobody's`)
    }
    if (row.status === "gone") assert.isTrue(row.machineId === null && row.volumeId === null)
  }
}

it.effect("keep the invariants, and reach every transition", () =>
  Effect.gen(function* () {
    const kinds = new Set<string>()
    for (let seed = 1; seed <= 24; seed++) {
      yield* Effect.gen(function* () {
        const database = yield* MemoryDatabase
        const generations = new Map<ProjectId, number>()
        yield* runHistory(history(seed, 120), (index) =>
          Effect.map(database.snapshot, (snapshot) => check(snapshot, generations, `seed ${seed}, step ${index}`))
        )
        const { events } = yield* database.snapshot
        for (const { kind } of events) kinds.add(kind)
      }).pipe(Effect.provide(stores))
    }
    assert.deepStrictEqual([...kinds].toSorted(), [...eventKinds].toSorted())
  })
)

it.effect("the same seed gives the same history and the same observations", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(history(7), history(7))
    assert.notDeepEqual(history(7), history(8))
    const run = runHistory(history(7, 120)).pipe(Effect.provide(stores))
    assert.deepStrictEqual(yield* run, yield* run)
  })
)
