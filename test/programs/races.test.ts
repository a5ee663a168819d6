/** Answers that are late or lost, clocks that differ, and others who were first: a request that can be served is. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as TestClock from "effect/testing/TestClock"
import { defaultMargins, Margins } from "../../src/config/Margins.ts"
import * as ProjectId from "../../src/domain/ProjectId.ts"
import { archive } from "../../src/programs/lifecycle/Archive.ts"
import { whileMoving } from "../../src/programs/lifecycle/Configure.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { rehost } from "../../src/programs/lifecycle/Rehost.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { StoreError } from "../../src/services/db/StoreError.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { layerMemoryStores } from "../../src/testing/memory/MemoryStores.ts"
import type { Fault } from "../../src/testing/MemoryR2.ts"
import { MemoryR2 } from "../../src/testing/MemoryR2.ts"
import { layerTestPlane } from "../../src/testing/TestPlane.ts"
import { atRest, createInput, newProject, read, rest, settled, viewOf } from "./support.ts"

/** A plane whose database answers as `patch` has it. */
const plane = (patch: (projects: Projects["Service"]) => Partial<Projects["Service"]> = () => ({})) =>
  layerTestPlane({
    config: (defaults) => ({ ...defaults, create: { windows: "off", public: true } }),
    stores: Layer.effect(
      Projects,
      Effect.map(Projects, (projects) => Projects.of({ ...projects, ...patch(projects) }))
    ).pipe(Layer.provideMerge(layerMemoryStores))
  })

/** Its clock is an hour behind the database's. */
const planeBehind = Layer.unwrap(
  Effect.map(Clock.Clock, (clock) => {
    const behind = 60 * 60_000
    const late: Clock.Clock = {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() - behind,
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now - behind),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() - BigInt(behind) * 1_000_000n,
      currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now - BigInt(behind) * 1_000_000n),
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    return Layer.fresh(layerLifecycle).pipe(
      Layer.provide(Layer.succeed(Clock.Clock, late)),
      Layer.provideMerge(plane())
    )
  })
)

const lost = (operation: string) => new StoreError({ operation, reason: "UnknownOutcome", detail: "connection lost" })

describe("a wake", () => {
  const late = { commit: false }
  it.effect("whose commit is answered after the next renewal of its lease succeeds", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      late.commit = true
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 25_000 }))
      assert.strictEqual(woken.view.project.state, "active")
    }).pipe(
      Effect.provide(
        plane((projects) => ({
          commitActive: (input) =>
            Effect.tap(projects.commitActive(input), () => (late.commit ? Effect.sleep(5_000) : Effect.void))
        }))
      ),
      Random.withSeed("late commit")
    )
  )

  it.effect("is not put off by an instance whose clock is an hour behind", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      yield* servers.setFaults((call) =>
        Effect.succeed(call === "configure" ? { outcome: "restore_fails" as const } : {})
      )
      yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 25_000 })))
      yield* servers.clearFaults
      const early = yield* settled(Effect.flip(lifecycle.wake(id, { deadlineMs: 25_000 })))
      assert.strictEqual(early.reason._tag, "Backoff")
      yield* TestClock.adjust("10 seconds")
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 25_000 }))
      assert.strictEqual(woken.view.project.state, "active")
    }).pipe(Effect.provide(planeBehind), Random.withSeed("behind"))
  )

  it.effect("takes over from an owner that died, also where the clock is an hour behind", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      const dead = { projectId: id, operationId: "dead", leaseMs: 10_000, claim: null }
      assert.strictEqual((yield* (yield* Projects).beginWake(dead))._tag, "Begun")
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 25_000 }))
      assert.strictEqual(woken.view.project.state, "active")
    }).pipe(Effect.provide(planeBehind), Random.withSeed("dead and behind"))
  )

  it.effect("downloads with a URL that outlasts the wait for a machine's boot", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const r2 = yield* MemoryR2
      const id = yield* newProject
      yield* settled(lifecycle.sleep(id, "dormant"))
      let begun: number | null = null
      yield* servers.setFaults((call) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          if (call !== "configure") return {}
          begun ??= now
          return now - begun < 50_000 ? { outcome: "unreachable" as const } : {}
        })
      )
      let gets = 0
      yield* r2.setFaults((operation) =>
        Effect.sync((): Fault => {
          if (operation !== "get") return {}
          gets += 1
          return gets === 1 ? { latencyMs: 15_000, outcome: "unavailable" } : {}
        })
      )
      const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 120_000 }))
      assert.strictEqual(woken.view.project.state, "active")
    }).pipe(Effect.provide(plane()), Random.withSeed("slow boot"))
  )
})

describe("a transfer", () => {
  it.effect("may be examined in silence for as long as its bytes take to read", () =>
    Effect.gen(function* () {
      const gib = 1024 ** 3
      const answered = yield* settled(
        whileMoving("vtest", "configure", 60_000, gib, (watch) =>
          Effect.andThen(watch(gib), Effect.as(Effect.sleep("2 minutes"), "done"))
        )
      )
      assert.strictEqual(answered, "done")
      const stuck = yield* settled(
        Effect.flip(
          whileMoving("vtest", "configure", 60_000, 1_000, (watch) => Effect.andThen(watch(10), Effect.never))
        )
      )
      assert.strictEqual(stuck.reason._tag, "Unreachable")
    })
  )
})

describe("a create", () => {
  it.effect("whose answer was lost has created the project, and gives its key", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const created = yield* settled(lifecycle.create(createInput))
      assert.strictEqual(created.view.project.state, "active")
      yield* rest
      yield* atRest
    }).pipe(
      Effect.provide(
        plane((projects) => ({ create: (input) => Effect.andThen(projects.create(input), lost("create")) }))
      ),
      Random.withSeed("lost create")
    )
  )

  it.effect("is brought up although a request for it came before its answer did", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      yield* settled(replenishPool)
      const projectId = ProjectId.ProjectId.make("chosen")
      const creating = yield* Effect.forkChild(lifecycle.create({ ...createInput, projectId }))
      yield* TestClock.adjust("50 millis")
      const waiting = yield* Effect.forkChild(lifecycle.wake(projectId, { deadlineMs: 25_000 }))
      const created = yield* settled(Fiber.join(creating))
      assert.strictEqual(created.view.project.generation, 1, "nobody had to take the create over")
      yield* settled(Fiber.join(waiting))
    }).pipe(
      Effect.provide(
        plane((projects) => ({ create: (input) => Effect.tap(projects.create(input), () => Effect.sleep(200)) }))
      ),
      Random.withSeed("eager request")
    )
  )
})

describe("a request that came back", () => {
  it.effect("is served although an archive began and ended between the look and the unseal", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const r2 = yield* MemoryR2
      const id = yield* newProject
      // Sealed under an active row: an archive that failed, and whose unseal was lost.
      yield* r2.setFaults((operation) => Effect.succeed<Fault>(operation === "put" ? { outcome: "not_stored" } : {}))
      yield* servers.setFaults((call) => Effect.succeed(call === "unseal" ? { outcome: "unreachable" as const } : {}))
      yield* settled(Effect.exit(archive(id, { force: true })))
      yield* r2.clearFaults
      assert.strictEqual((yield* viewOf(id)).project.state, "active")
      const context = yield* Effect.context<Effect.Services<ReturnType<typeof archive>>>()
      const begun = yield* Ref.make(false)
      yield* servers.setFaults((call) =>
        Effect.gen(function* () {
          if (call === "unseal" && !(yield* Ref.getAndSet(begun, true))) {
            yield* Effect.ignore(archive(id, { force: true }))
          }
          return {}
        }).pipe(Effect.provide(context))
      )
      const healed = yield* settled(lifecycle.heal(id, "stale", { deadlineMs: 60_000 }))
      assert.isTrue(yield* Ref.get(begun))
      assert.strictEqual(healed.view.project.state, "active")
      assert.strictEqual(yield* read(id), "precious")
    }).pipe(Effect.provide(plane()), Random.withSeed("archived meanwhile"))
  )

  it.effect("makes the server serve, also where it says that it is not sealed", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      let unseals = 0
      yield* servers.setFaults((call) => Effect.sync(() => ((unseals += call === "unseal" ? 1 : 0), {})))
      yield* settled(lifecycle.heal(id, "stale", { deadlineMs: 10_000 }))
      assert.strictEqual(unseals, 1)
    }).pipe(Effect.provide(plane()), Random.withSeed("shut"))
  )

  it.effect("does not replace the machine that another instance has just made", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const servers = yield* FakeMachines
      const id = yield* newProject
      const view = yield* viewOf(id)
      const context = yield* Effect.context<Effect.Services<ReturnType<typeof rehost>>>()
      let looked = false
      yield* servers.setFaults((call, machineId) =>
        Effect.gen(function* () {
          if (machineId !== view.machine?.machineId) return {}
          if (call === "health" && !looked) {
            looked = true
            yield* Effect.ignore(rehost(view, { reason: "another instance was first" }))
          }
          return { outcome: "unreachable" as const }
        }).pipe(Effect.provide(context))
      )
      yield* settled(lifecycle.heal(id, "stale", { deadlineMs: 10 * 60_000 }))
      const events = yield* (yield* Projects).events({ projectId: id, limit: 50, before: null })
      assert.strictEqual(events.filter((event) => event.kind === "rehosted").length, 1)
    }).pipe(
      Effect.provide(
        plane().pipe(Layer.provideMerge(Layer.succeed(Margins, { ...defaultMargins, goneApartMs: 1_000 })))
      ),
      Random.withSeed("replaced meanwhile")
    )
  )
})

describe("a delete", () => {
  const left = { commits: 1 }
  it.effect("whose commit never arrived is committed", () =>
    Effect.gen(function* () {
      const lifecycle = yield* Lifecycle
      const id = yield* newProject
      yield* settled(lifecycle.delete(id, { deadlineMs: 25_000 }))
      assert.strictEqual((yield* viewOf(id)).project.state, "deleted")
    }).pipe(
      Effect.provide(
        plane((projects) => ({
          commitDelete: (input) =>
            Effect.suspend(() => (left.commits-- > 0 ? lost("commitDelete") : projects.commitDelete(input)))
        }))
      ),
      Random.withSeed("delete")
    )
  )
})
