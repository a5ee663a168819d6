import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { sweep } from "../../src/programs/dormancy/Sweep.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { discard } from "../../src/programs/reconcile/Discard.ts"
import { Archives } from "../../src/services/db/Archives.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { MemoryR2 } from "../../src/testing/MemoryR2.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { settled } from "./support.ts"

const create = {
  projectId: null,
  region: null,
  idleTimeoutSeconds: null,
  client: "192.0.2.1",
  idempotencyKey: null,
  deadlineMs: 25_000
}

layer(layerTestPlane())("a project's life", (it) => {
  it.effect("is created from the pool, written, archived, deleted from Fly, and woken with its data", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const world = yield* FlyWorld
      const servers = yield* FakeMachines
      const projects = yield* Projects
      const machines = yield* Machines
      const archives = yield* Archives
      const r2 = yield* MemoryR2

      yield* settled(replenishPool)
      assert.strictEqual((yield* machines.pool).filter((row) => row.status === "ready").length, 2)

      yield* world.resetCalls
      const created = yield* settled(lifecycle.create(create))
      assert.strictEqual(created.view.project.state, "active")
      assert.strictEqual(yield* world.callCount(), 0, "a warm create makes no Fly call")
      const id = created.view.project.projectId
      const machineId = created.view.machine?.machineId ?? ""
      const written = yield* servers.request({ machineId, projectId: id, document: "k", write: "v" })
      assert.strictEqual(written._tag, "Acknowledged")

      yield* TestClock.adjust("8 days")
      const swept = yield* settled(sweep)
      assert.deepStrictEqual(swept, { candidates: 1, archived: 1, busy: 0, refused: 0, failed: 0 })
      const dormant = Option.getOrThrow(yield* projects.find(id)).project
      assert.deepStrictEqual([dormant.state, dormant.dirty, dormant.machine], ["dormant", false, null])
      const archive = Option.getOrThrow(yield* archives.current(dormant.uid))
      assert.isTrue((yield* r2.objects).has(archive.r2Key))

      yield* TestClock.adjust("2 minutes")
      yield* settled(discard)
      const state = yield* world.state
      assert.isTrue(Object.values(state.machines).every((one) => one.id !== machineId || one.state === "destroyed"))

      yield* settled(replenishPool)
      yield* world.resetCalls
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 25_000 }))
      assert.deepStrictEqual([woken.woken, woken.source], [true, "pool"])
      assert.strictEqual(yield* world.callCount(), 0, "a warm wake makes no Fly call")
      const read = yield* servers.request({
        machineId: woken.view.machine?.machineId ?? "",
        projectId: id,
        document: "k"
      })
      assert.deepStrictEqual(read._tag === "Acknowledged" ? read.value : null, "v")

      yield* settled(lifecycle.delete(id, { deadlineMs: 25_000 }))
      const gone = yield* Effect.flip(lifecycle.wake(id, { deadlineMs: 1_000 }))
      assert.strictEqual(gone.reason._tag, "NotFound")
    }).pipe(Random.withSeed("life"))
  )

  it.effect("falls to a cold machine when the pool is empty, and shares one wake among many callers", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const machines = yield* Machines
      for (const row of yield* machines.pool) {
        yield* machines.discard({ name: row.name, from: ["ready", "provisioning"], reason: "test" })
      }
      const created = yield* settled(lifecycle.create({ ...create, client: null }))
      assert.strictEqual(created.view.project.state, "active")
      const id = created.view.project.projectId
      yield* settled(lifecycle.sleep(id, "dormant"))
      const callers = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.forkChild(lifecycle.wake(id, { deadlineMs: 60_000 }))
      )
      const results = yield* settled(Fiber.joinAll(callers))
      assert.strictEqual(new Set(results.map((result) => result.view.machine?.machineId)).size, 1)
      assert.strictEqual(results[0]?.view.project.generation, created.view.project.generation + 2)
    }).pipe(Random.withSeed("cold"))
  )
})
