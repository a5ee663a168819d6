/** What the stores say when the database fails in the middle: nothing is claimed that is not known. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { leaseOf } from "../../../src/domain/Project.ts"
import { databaseLimits } from "../../../src/services/db/Database.ts"
import { layerPostgres } from "../../../src/services/db/Postgres.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "../../contract/stores/Given.ts"
import { StoreTime } from "../../contract/stores/StoreHarness.ts"
import { eventually, eventuallyLive } from "../../support/eventually.ts"
import { relay } from "../../support/Relay.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import { blocker, layerStores, sharedByFile, TestDatabase, waitingStores } from "../../support/TestDatabase.ts"

const direct = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layerStores)))

/** Stores whose connections run through a relay; their own layer, because their pool is to be broken. */
const throughRelay = Effect.gen(function* () {
  const { url } = yield* TestDatabase
  const target = new URL(Redacted.value(url))
  const between = yield* relay({ host: target.hostname, port: Number(target.port) })
  target.port = String(between.port)
  const relayed = Redacted.make(target.href)
  const context = yield* Layer.build(Layer.fresh(layerPostgres({ url: relayed, directUrl: relayed })))
  return { between, projects: yield* Effect.provide(Projects, context) }
})

/** True once a statement of the stores waits for a lock. */
const waiting = Effect.gen(function* () {
  const { query } = yield* TestDatabase
  return (yield* query(waitingStores)).length > 0
})

const terminateWaiting = Effect.gen(function* () {
  const { query } = yield* TestDatabase
  yield* query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'valet' AND wait_event_type = 'Lock'`
  )
})

const toBeCommitted = Effect.gen(function* () {
  const { project } = yield* given.creating("red")
  const lease = leaseOf(project)
  return { lease, machine: yield* given.cold(lease, "cold1") }
})

const stateOf = (id: string) =>
  Effect.gen(function* () {
    const { query } = yield* TestDatabase
    const rows = yield* query("SELECT state FROM valet.projects WHERE project_id = $1", [id])
    return rows[0]?.["state"]
  })

describe("faults of the database", () => {
  it.live("a commit whose answer is lost has an unknown outcome, though it happened", () =>
    Effect.gen(function* () {
      const commit = yield* toBeCommitted
      const { between, projects } = yield* throughRelay
      yield* projects.renew(commit.lease, given.leaseMs)
      yield* between.swallowAnswers
      const fiber = yield* Effect.forkScoped(Effect.flip(projects.commitActive(commit)))
      yield* eventually(Effect.map(stateOf("red"), (state) => state === "active"))
      yield* between.cut
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason, "UnknownOutcome")
      assert.isFalse(error.retryable)
      const row = given.present(Option.getOrNull(yield* projects.find(commit.lease.projectId)))
      assert.strictEqual(row.project.state, "active")
    }).pipe(Effect.provide(direct))
  )

  it.live("a commit whose session is ended while it waits has an unknown outcome, though nothing happened", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      const commit = yield* toBeCommitted
      const { release } = yield* blocker("SELECT FROM valet.projects WHERE project_id = 'red' FOR UPDATE")
      const fiber = yield* Effect.forkScoped(Effect.flip(projects.commitActive(commit)))
      yield* eventually(waiting)
      yield* terminateWaiting
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "UnknownOutcome")
      yield* release
      assert.strictEqual(yield* stateOf("red"), "dormant")
      assert.isNotNull(yield* projects.commitActive(commit))
    }).pipe(Effect.provide(direct))
  )

  it.live("a create cut in its transaction leaves nothing behind", () =>
    Effect.gen(function* () {
      const { query } = yield* TestDatabase
      const { release } = yield* blocker("LOCK TABLE valet.accepted_creates IN ACCESS EXCLUSIVE MODE")
      const limit = { client: "203.0.113.7", windows: [{ limit: 1, windowMs: 60_000 }] }
      const fiber = yield* Effect.forkScoped(Effect.flip(given.create("red", { limit })))
      yield* eventually(waiting)
      yield* terminateWaiting
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "StoreError" ? error.reason : error._tag, "UnknownOutcome")
      yield* release
      assert.deepStrictEqual(yield* query("SELECT FROM valet.projects"), [])
      assert.strictEqual((yield* given.create("red", { limit }))._tag, "Begun")
    }).pipe(Effect.provide(direct))
  )

  it.live("a read whose session is ended is repeated", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      yield* given.dormant("red")
      const { release } = yield* blocker("LOCK TABLE valet.projects IN ACCESS EXCLUSIVE MODE")
      const fiber = yield* Effect.forkScoped(projects.find(given.projectId("red")))
      yield* eventually(waiting)
      yield* terminateWaiting
      yield* release
      assert.isTrue(Option.isSome(yield* Fiber.join(fiber)))
    }).pipe(Effect.provide(direct))
  )

  it.live("who waits too long for a lock gives up as contention, and nothing happened", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      const commit = yield* toBeCommitted
      const { release } = yield* blocker("SELECT FROM valet.projects WHERE project_id = 'red' FOR UPDATE")
      const error = yield* Effect.flip(projects.commitActive(commit))
      assert.strictEqual(error.reason, "Contention")
      yield* release
      assert.strictEqual(yield* stateOf("red"), "dormant")
    }).pipe(Effect.provide(direct))
  )

  it.effect("a connection that answers nothing is given up in time and not used again", () =>
    Effect.gen(function* () {
      const { advance } = yield* StoreTime
      yield* advance(0)
      const { between, projects } = yield* throughRelay
      const commit = yield* toBeCommitted
      yield* projects.renew(commit.lease, given.leaseMs)
      yield* between.swallowAnswers
      const before = yield* between.accepted
      const fiber = yield* Effect.forkScoped(Effect.flip(projects.commitActive(commit)))
      yield* eventuallyLive(Effect.map(stateOf("red"), (state) => state === "active"))
      yield* TestClock.adjust(databaseLimits.client)
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "UnknownOutcome")
      assert.isFalse(yield* projects.renew(commit.lease, given.leaseMs))
      assert.isAbove(yield* between.accepted, before)
    }).pipe(Effect.provide(direct))
  )
})
