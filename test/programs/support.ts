import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type { ProjectId } from "../../src/domain/ProjectId.ts"
import { FlyWorld } from "../../src/local/fly/FlyWorld.ts"
import type { HostLoss } from "../../src/local/fly/model/Hosts.ts"
import { loseHost } from "../../src/local/fly/model/Hosts.ts"
import { Lifecycle } from "../../src/programs/lifecycle/Lifecycle.ts"
import { discard } from "../../src/programs/reconcile/Discard.ts"
import { recoverExpired } from "../../src/programs/reconcile/Expired.ts"
import { observe } from "../../src/programs/reconcile/Observe.ts"
import { reap } from "../../src/programs/reconcile/Reap.ts"
import { Archives } from "../../src/services/db/Archives.ts"
import { Machines } from "../../src/services/db/Machines.ts"
import { Projects } from "../../src/services/db/Projects.ts"
import { FakeMachines } from "../../src/testing/machine/FakeMachines.ts"
import { MemoryR2 } from "../../src/testing/MemoryR2.ts"

/** Runs to the end under TestClock, letting simulated time pass in small steps: at most an hour of it. */
export const settled = <A, E, R>(effect: Effect.Effect<A, E, R>, stepMs = 250) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let step = 0; step < 60 * 60 * 4 && fiber.pollUnsafe() === undefined; step++) {
      yield* Effect.yieldNow
      yield* TestClock.adjust(stepMs)
    }
    return yield* Fiber.join(fiber)
  })

export const createInput = {
  projectId: null,
  region: null,
  idleTimeoutSeconds: null,
  client: null,
  idempotencyKey: null,
  deadlineMs: 120_000
}

/** An active project whose document `kept` is `precious`. */
export const newProject = Effect.gen(function* () {
  const lifecycle = yield* Lifecycle
  const created = yield* settled(lifecycle.create(createInput))
  const id = created.view.project.projectId
  // A create whose machine could not be had in time leaves a dormant project: its first request wakes it.
  const woken = yield* settled(lifecycle.wake(id, { deadlineMs: 120_000, force: true }))
  const machineId = woken.view.machine?.machineId ?? ""
  const servers = yield* FakeMachines
  const written = yield* servers.request({ machineId, projectId: id, document: "kept", write: "precious" })
  assert.strictEqual(written._tag, "Acknowledged")
  return id
})

export const viewOf = (id: ProjectId) =>
  Effect.flatMap(Projects, (projects) => Effect.map(projects.find(id), Option.getOrThrow))

/** The document `kept`, through a wake where one is needed. */
export const read = (id: ProjectId) =>
  Effect.gen(function* () {
    const woken = yield* settled(
      Effect.flatMap(Lifecycle, (lifecycle) => lifecycle.wake(id, { deadlineMs: 120_000, force: true }))
    )
    const answer = yield* (yield* FakeMachines).request({
      machineId: woken.view.machine?.machineId ?? "",
      projectId: id,
      document: "kept"
    })
    return answer._tag === "Acknowledged" ? answer.value : answer._tag
  })

/** The host of a machine fails. */
export const lose = (machineId: string, loss: HostLoss) =>
  Effect.gen(function* () {
    const world = yield* FlyWorld
    const host = (yield* world.state).machines[machineId]?.host ?? ""
    yield* world.apply(loseHost(host, loss))
  })

/** Time for leases to expire, and for the reconcilers to do what is left to do. */
export const rest = Effect.gen(function* () {
  for (let pass = 0; pass < 8; pass++) {
    yield* TestClock.adjust("5 minutes")
    yield* settled(recoverExpired)
    yield* settled(observe)
    yield* settled(discard)
    yield* settled(reap)
  }
  yield* TestClock.adjust("2 hours")
  yield* settled(recoverExpired)
  yield* settled(discard)
})

/** Nothing runs and nothing is left over: Fly holds the ledger's machines and volumes, the bucket the ledger's objects. */
export const atRest = Effect.gen(function* () {
  const projects = yield* Projects
  const { operations } = yield* projects.counts
  const running = Object.entries(operations).filter(([operation, count]) => operation !== "none" && count > 0)
  assert.deepStrictEqual(running, [], "no operation runs")

  const rows = yield* (yield* Machines).living
  const unsettled = rows.filter((row) => row.status !== "ready" && row.status !== "assigned")
  assert.deepStrictEqual(
    unsettled.map(({ name, status, lastError }) => ({ name, status, lastError })),
    [],
    "no row waits in the bin or is half made"
  )
  const state = yield* (yield* FlyWorld).state
  const machines = Object.values(state.machines).filter((machine) => machine.state !== "destroyed")
  const volumes = Object.values(state.volumes).filter((volume) => volume.deletedAt === null)
  const ids = (all: ReadonlyArray<{ readonly id: string }>) => all.map(({ id }) => id).toSorted()
  const noted = (all: ReadonlyArray<string | null>) => all.filter((id) => id !== null).toSorted()
  assert.deepStrictEqual(ids(machines), noted(rows.map((row) => row.machineId)), "Fly's machines are the ledger's")
  assert.deepStrictEqual(ids(volumes), noted(rows.map((row) => row.volumeId)), "Fly's volumes are the ledger's")

  const archives = yield* (yield* Archives).living
  const objects = yield* (yield* MemoryR2).objects
  assert.deepStrictEqual(
    [...objects.keys()].toSorted(),
    archives.map((row) => row.r2Key).toSorted(),
    "the bucket holds the recorded archives"
  )
})
