/** What the hot paths cost: each transition is one statement, and a warm wake three in all. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "../../contract/stores/Given.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { layerInstance, observing, sharedByFile, TestDatabase } from "../../support/TestDatabase.ts"

const { layer, statements } = observing(layerInstance)
const stores = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layer), Layer.provideMerge(TestDatabase.layer)))

const sent = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const before = statements.length
    return Effect.map(effect, (value) => ({ value, sent: statements.length - before }))
  })

describe("round trips", () => {
  it.live("a warm wake: the read, the begin with its claim, the commit", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      yield* given.dormant("red")
      yield* given.ready("pool1")
      const wake = Effect.gen(function* () {
        yield* projects.find(given.projectId("red"))
        const begun = given.begun(
          yield* projects.beginWake({
            projectId: given.projectId("red"),
            operationId: "wake",
            leaseMs: given.leaseMs,
            claim: given.claim
          })
        )
        assert.strictEqual(begun.machine?.name, "pool1")
        assert.isNotNull(begun.archive)
        return given.present(
          yield* projects.commitActive({ lease: leaseOf(begun.project), machine: given.machineName("pool1") })
        )
      })
      const { sent: count, value } = yield* sent(wake)
      assert.strictEqual(value.project.state, "active")
      assert.strictEqual(count, 3)
    }).pipe(Effect.provide(stores))
  )

  it.live("a takeover is one statement as well", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      const { advance } = yield* TestDatabase
      const { project } = yield* given.creating("red")
      yield* given.cold(leaseOf(project), "cold1")
      yield* advance(given.leaseMs)
      const begin = projects.beginWake({
        projectId: project.projectId,
        operationId: "wake",
        leaseMs: given.leaseMs,
        claim: given.claim
      })
      const { sent: count, value } = yield* sent(begin)
      assert.strictEqual(given.begun(value).project.generation, project.generation + 1)
      assert.strictEqual((yield* given.rowOf("cold1")).status, "discarded")
      assert.strictEqual(count, 1)
    }).pipe(Effect.provide(stores))
  )

  it.live("many touches are one statement, none is none", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      yield* Effect.forEach(["red", "blue"], (id) => given.creating(id))
      const ids = ["red", "blue", "unknown"].map(given.projectId)
      assert.strictEqual((yield* sent(projects.touch(ids))).sent, 1)
      assert.strictEqual((yield* sent(projects.touch([]))).sent, 0)
    }).pipe(Effect.provide(stores))
  )
})
