/** Lost answers, paused owners, lost hosts and bad objects: what must never happen is tried here. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { MachineName } from "../../src/domain/Machine.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import { sweep } from "../../src/programs/dormancy/Sweep.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { StepHook } from "../../src/programs/lifecycle/Steps.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import type { StoreFault } from "../../src/testing/memory/StoreFaults.ts"
import { StoreFaults } from "../../src/testing/memory/StoreFaults.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import type { Fault } from "../../src/testing/MemoryR2.ts"
import { MemoryR2 } from "../../src/testing/MemoryR2.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, lose, newProject, read, rest, settled, viewOf } from "./support.ts"

/** A plane whose database loses the answer of each named operation once, and is out of reach for renewals at will. */
const plane = (lost: ReadonlyArray<string> = [], renewals: { deaf: boolean } = { deaf: false }) => {
  const left = new Set(lost)
  const faults = (operation: string) =>
    Effect.sync((): StoreFault => {
      if (operation === "renew" && renewals.deaf) return "before"
      return left.delete(operation) ? "after" : "none"
    })
  return layerTestPlane({
    config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } })
  }).pipe(Layer.provide(Layer.succeed(StoreFaults, faults)))
}

describe("an answer of the database that was lost", () => {
  for (const operation of [
    "beginWake",
    "commitActive",
    "beginArchive",
    "commitArchive",
    "startUpload",
    "recordMachine"
  ]) {
    it.effect(`of ${operation}: the row tells, nothing is done twice and nothing is lost`, () =>
      Effect.gen(function* () {
        const id = yield* newProject
        yield* settled(Effect.exit(archive(id, { force: true })))
        assert.strictEqual(yield* read(id), "precious")
        yield* rest
        yield* atRest
      }).pipe(Effect.provide(plane([operation])), Random.withSeed(operation))
    )
  }
})

describe("an object that is not what was uploaded", () => {
  for (const outcome of ["corrupt", "short", "not_stored"] as const) {
    it.effect(`${outcome}: nothing is deleted, an event tells, and the sweep tries again later`, () =>
      Effect.gen(function* () {
        const id = yield* newProject
        const before = yield* viewOf(id)
        const r2 = yield* MemoryR2
        const world = yield* FlyWorld
        yield* r2.setFaults((operation) => Effect.succeed<Fault>(operation === "put" ? { outcome } : {}))
        yield* TestClock.adjust("8 days")
        assert.deepInclude(yield* settled(sweep), { candidates: 1, archived: 0, failed: 1 })
        const after = yield* viewOf(id)
        assert.strictEqual(after.project.state, "active")
        assert.strictEqual(after.machine?.machineId, before.machine?.machineId)
        assert.isDefined((yield* world.state).volumes[after.machine?.volumeId ?? ""])
        const events = yield* (yield* Projects).events({ projectId: id, limit: 20, before: null })
        assert.isTrue(events.some((event) => event.kind === "archive_failed"))
        assert.strictEqual((yield* settled(sweep)).archived, 0, "it backs off first")
        yield* r2.clearFaults
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* settled(sweep)).archived, 1)
        assert.strictEqual(yield* read(id), "precious")
      }).pipe(Effect.provide(plane()), Random.withSeed(outcome))
    )
  }
})

describe("an owner that is paused", () => {
  const renewals = { deaf: false }
  it.effect("before its archive's commit: a request takes over and writes, the late commit changes nothing", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      const paused = yield* Deferred.make<void>()
      const resume = yield* Deferred.make<void>()
      const hold =
        (_operation: string, step: string) =>
        <A, E, R>(run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
          step === "commit"
            ? Effect.uninterruptible(
                Effect.andThen(Deferred.succeed(paused, undefined), Effect.andThen(Deferred.await(resume), run))
              )
            : run
      const owner = yield* Effect.forkChild(
        archive(id, { force: true }).pipe(Effect.provideService(StepHook, hold), Effect.exit)
      )
      yield* settled(Deferred.await(paused))
      const early = yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 2_000 })))
      assert.strictEqual(early.reason._tag, "Deadline", "an upload that has begun is waited for, not taken over")

      renewals.deaf = true
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 60_000 }))
      const machineId = woken.view.machine?.machineId ?? ""
      const written = yield* servers.request({ machineId, projectId: id, document: "kept", write: "after takeover" })
      assert.strictEqual(written._tag, "Acknowledged")
      renewals.deaf = false
      yield* Deferred.succeed(resume, undefined)
      assert.isTrue(Exit.isFailure(yield* settled(Fiber.join(owner))), "the late owner is told that it lost")
      const after = yield* viewOf(id)
      assert.deepStrictEqual([after.project.state, after.machine?.machineId], ["active", machineId])
      assert.strictEqual(yield* read(id), "after takeover")
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane([], renewals)), Random.withSeed("paused"))
  )
})

describe("a lost host", () => {
  it.effect("with the volume kept: another machine serves the same data", () =>
    Effect.gen(function* () {
      const id = yield* newProject
      const before = yield* viewOf(id)
      yield* lose(before.machine?.machineId ?? "", "machine")
      yield* settled(
        Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.heal(id, "replay_failed", { deadlineMs: 10 * 60_000 }))
      )
      const after = yield* viewOf(id)
      assert.notStrictEqual(after.machine?.machineId, before.machine?.machineId)
      assert.strictEqual(after.machine?.volumeId, before.machine?.volumeId)
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("machine"))
  )

  it.effect("with machine and volume gone: data_unavailable, never old data, until an operator decides", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      yield* settled(archive(id, { force: true }))
      assert.strictEqual(yield* read(id), "precious")
      const view = yield* viewOf(id)
      const machineId = view.machine?.machineId ?? ""
      yield* servers.request({ machineId, projectId: id, document: "kept", write: "newer than the archive" })
      yield* lose(machineId, "both")
      yield* settled(Effect.exit(lifecycle.heal(id, "replay_failed", { deadlineMs: 20 * 60_000 })))
      const refused = yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 1_000, force: true })))
      assert.strictEqual(refused.reason._tag, "DataUnavailable")
      const events = yield* (yield* Projects).events({ projectId: id, limit: 50, before: null })
      assert.isTrue(events.some((event) => event.kind === "data_unavailable"))

      const recovered = yield* settled(lifecycle.recover(id, "archive"))
      assert.strictEqual(recovered.project.state, "dormant")
      assert.strictEqual(yield* read(id), "precious", "the operator chose the archive")
      yield* rest
      const kept = yield* (yield* Machines).find(view.machine?.name ?? MachineName.make("v0"))
      assert.deepStrictEqual(
        [kept?.status, kept?.volumeId],
        ["discarded", view.machine?.volumeId],
        "the volume with the newer writes is kept, should it come back"
      )
    }).pipe(Effect.provide(plane()), Random.withSeed("both"))
  )

  it.effect("unreachable for hours is not gone: nothing is replaced, and it serves again when the host is back", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const id = yield* newProject
      const before = yield* viewOf(id)
      yield* lose(before.machine?.machineId ?? "", "unreachable")
      const exit = yield* settled(Effect.flip(lifecycle.heal(id, "replay_failed", { deadlineMs: 120_000 })))
      assert.strictEqual(exit.reason._tag, "Unavailable")
      const after = yield* viewOf(id)
      assert.deepStrictEqual(
        [after.machine?.machineId, after.project.dataUnavailable],
        [before.machine?.machineId, false]
      )
    }).pipe(Effect.provide(plane()), Random.withSeed("unreachable"))
  )
})

describe("a pool machine", () => {
  it.effect("that does not answer is discarded and the next one claimed, within the same wake", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const world = yield* FlyWorld
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      yield* settled(replenishPool)
      let silent: string | null = null
      yield* servers.setFaults((call, machineId) =>
        Effect.sync(() => {
          if (call === "configure" && silent === null) silent = machineId
          return machineId === silent ? { outcome: "unreachable" as const } : {}
        })
      )
      yield* world.resetCalls
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 60_000 }))
      assert.deepStrictEqual([woken.source, yield* world.callCount()], ["pool", 0])
      assert.notStrictEqual(woken.view.machine?.machineId, silent)
      yield* servers.clearFaults
      yield* rest
      yield* atRest
    }).pipe(Effect.provide(plane()), Random.withSeed("silent"))
  )

  it.effect("takes no second machine when the restore itself fails, and the next request is told to wait", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      yield* settled(replenishPool)
      let configured = 0
      yield* servers.setFaults((call) =>
        Effect.sync(() => {
          if (call !== "configure") return {}
          configured += 1
          return { outcome: "restore_fails" as const }
        })
      )
      yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 60_000 })))
      const machinesTried = configured
      const refused = yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 60_000 })))
      assert.strictEqual(refused.reason._tag, "Backoff")
      assert.strictEqual(configured, machinesTried, "nothing is tried before next_attempt_at")
      yield* servers.clearFaults
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("restore"))
  )
})

describe("the sweep", () => {
  it.effect("archives 500 candidates with bounded concurrency; a poisoned one does not stop it", () =>
    Effect.gen(function* () {
      const servers = yield* FakeMachines
      const ids = yield* Effect.forEach(Array.from({ length: 500 }), () => newProject)
      const poisoned = (yield* viewOf(Option.getOrThrow(Arr.get(ids, 250)))).machine?.machineId
      let running = 0
      let most = 0
      yield* servers.setFaults((call, machineId) =>
        Effect.gen(function* () {
          if (call === "archive-to-r2" && machineId === poisoned) return { outcome: "seal_fails" as const }
          if (call === "archive-to-r2") {
            running += 1
            most = Math.max(most, running)
            yield* Effect.sleep(100)
            running -= 1
          }
          return {}
        })
      )
      yield* TestClock.adjust("8 days")
      const pass = yield* settled(sweep)
      assert.deepStrictEqual(pass, { candidates: 500, archived: 499, busy: 0, refused: 0, failed: 1 })
      assert.isAtMost(most, 5)
    }).pipe(
      Effect.provide(
        layerTestPlane({
          config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }),
          fly: { params: { rateLimits: false } }
        })
      ),
      Random.withSeed("sweep")
    )
  )
})
