/** `changes`: a Resync first, then what transitions tell. Hints may be repeated, and may come late. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { type Change, Projects } from "../../../src/services/db/Projects.ts"
import * as given from "./Given.ts"
import { advance, minute, type StoreHarness, testsOn } from "./StoreHarness.ts"

/** Subscribes, and waits for the first hint: from then on nothing is missed. */
const subscribed = Effect.gen(function* () {
  const projects = yield* Projects
  const queue = yield* Queue.unbounded<Change>()
  yield* projects.changes.pipe(
    Stream.runForEach((change) => Queue.offer(queue, change)),
    Effect.tapCause(Effect.logError),
    Effect.forkScoped
  )
  assert.deepStrictEqual(yield* Queue.take(queue), { _tag: "Resync" })
  return queue
})

/** Waits until the project is named. */
const untilChanged = (queue: Queue.Dequeue<Change>, id: string) =>
  Effect.gen(function* () {
    for (;;) {
      const change = yield* Queue.take(queue)
      if (change._tag === "Changed" && change.projectId === given.projectId(id)) return
    }
  })

export const changesContract = (harness: StoreHarness) => {
  const test = testsOn(harness)

  describe(`${harness.name}: changes`, () => {
    test("every subscriber gets a Resync, then each project that changes", () =>
      Effect.gen(function* () {
        yield* given.creating("before")
        const one = yield* subscribed
        const two = yield* subscribed
        yield* given.creating("red")
        yield* given.creating("blue")
        for (const queue of [one, two]) {
          yield* untilChanged(queue, "red")
          yield* untilChanged(queue, "blue")
        }
      }))

    test("every transition of a project tells", () =>
      Effect.gen(function* () {
        const machines = yield* Machines
        const projects = yield* Projects
        const queue = yield* subscribed
        const id = given.projectId("red")
        const tells = <A, E, R>(change: Effect.Effect<A, E, R>) => Effect.tap(change, () => untilChanged(queue, "red"))

        let lease = leaseOf((yield* tells(given.creating("red"))).project)
        yield* tells(projects.failWake({ lease, error: "-", retryAfterMs: null }))
        lease = leaseOf((yield* tells(given.waking("red"))).project)
        yield* advance(given.leaseMs)
        yield* tells(projects.expireWake(id))
        lease = leaseOf((yield* tells(given.waking("red"))).project)
        lease = given.present(yield* tells(projects.raiseGeneration(lease, 8)))
        const machine = yield* given.cold(lease, "cold1")
        yield* tells(projects.commitActive({ lease, machine }))
        const seen = { machineId: "m-cold1", volumeId: null, privateIp: null }
        yield* tells(machines.observe([{ ...seen, state: "suspended" }]))
        yield* tells(projects.updateSettings(id, { pinned: true }))
        const archiving = yield* tells(given.archiving("red"))
        yield* tells(projects.startUpload({ lease: archiving.lease, r2Key: "k", urlExpiresInMs: minute }))
        const by = { _tag: "Holder", lease: archiving.lease } as const
        yield* tells(projects.abortArchive({ projectId: id, by, idleSeconds: null, backoffMs: null, error: null }))
        const rehosting = yield* tells(given.rehosting("red", machine))
        const failure = { error: "-", retryAfterMs: 0, dataUnavailable: true }
        yield* tells(projects.failRehost({ lease: rehosting.lease, ...failure }))
        yield* tells(projects.recover({ projectId: id, from: "empty" }))
        yield* tells(given.deleted("red"))
      }))
  })
}
