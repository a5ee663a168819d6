/** Two instances at the same rows at the same time: what single statements and locks have to settle between them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { leaseOf } from "../../../src/domain/Project.ts"
import { Machines } from "../../../src/services/db/Machines.ts"
import { Projects } from "../../../src/services/db/Projects.ts"
import * as given from "../../contract/stores/Given.ts"
import { eventually } from "../../support/eventually.ts"
import { layerStoreTime } from "../../support/StoreTime.ts"
import {
  blocker,
  layerInstance,
  layerStores,
  sharedByFile,
  TestDatabase,
  waitingStores
} from "../../support/TestDatabase.ts"

const stores = sharedByFile(layerStoreTime.pipe(Layer.provideMerge(layerStores)))

const secondProjects = Effect.flatMap(Layer.build(layerInstance), (context) => Effect.provide(Projects, context))

const numbered = (count: number, prefix: string) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const together = { concurrency: "unbounded" } as const

const wake = (projects: Projects["Service"], id: string, operationId: string) =>
  projects.beginWake({
    projectId: given.projectId(id),
    operationId,
    leaseMs: given.leaseMs,
    claim: given.claim
  })

describe("two instances", () => {
  it.live("sliding windows hold across them", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const limit = { client: "203.0.113.7", windows: [{ limit: 3, windowMs: 60_000 }] }
      const outcomes = yield* Effect.forEach(
        numbered(20, "p"),
        (id, index) => (index % 2 === 0 ? one : two).create(given.newProject(id, { limit })),
        together
      )
      const tags = outcomes.map(({ _tag }) => _tag)
      assert.strictEqual(tags.filter((tag) => tag === "Begun").length, 3)
      assert.strictEqual(tags.filter((tag) => tag === "RateLimited").length, 17)
    }).pipe(Effect.provide(stores))
  )

  it.live("an idempotency key makes one project, however many ask at once", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const idempotency = { client: "203.0.113.7", key: "k" }
      const outcomes = yield* Effect.forEach(
        numbered(10, "p"),
        (id, index) => (index % 2 === 0 ? one : two).create(given.newProject(id, { idempotency })),
        together
      )
      const first = given.present(outcomes.find(given.isBegun))
      for (const outcome of outcomes) {
        if (outcome === first) continue
        if (outcome._tag !== "Repeated") throw new Error(outcome._tag)
        assert.strictEqual(outcome.view.project.projectId, first.project.projectId)
      }
    }).pipe(Effect.provide(stores))
  )

  it.live("a rush on the pool: everybody gets a machine of its own while there are some", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const projects = numbered(24, "p")
      yield* Effect.forEach(projects, (id) => given.dormant(id))
      yield* Effect.forEach(projects, (id) => given.ready(`pool${id}`))
      const begun = yield* Effect.forEach(
        projects,
        (id, index) => Effect.map(wake(index % 2 === 0 ? one : two, id, `w-${id}`), given.begun),
        together
      )
      const names = begun.flatMap(({ machine }) => (machine === null ? [] : [machine.name]))
      assert.strictEqual(names.length, 24)
      assert.strictEqual(new Set(names).size, 24)
      for (const { machine, project } of begun) {
        if (machine !== null) assert.strictEqual(machine.project, project.projectId)
      }
    }).pipe(Effect.provide(stores))
  )

  it.live("a machine that somebody is just claiming is skipped, not waited for", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      yield* given.dormant("red")
      yield* given.ready("older")
      yield* given.ready("younger")
      const claim = yield* blocker("SELECT FROM valet.machines WHERE name = 'older' FOR UPDATE")
      const begun = given.begun(yield* wake(projects, "red", "w"))
      assert.strictEqual(begun.machine?.name, "younger")
      yield* claim.release
    }).pipe(Effect.provide(stores))
  )

  it.live("of all who begin one wake one does, and takes one machine", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const machines = yield* Machines
      yield* given.dormant("red")
      yield* Effect.forEach(numbered(10, "pool"), (name) => given.ready(name))
      const outcomes = yield* Effect.forEach(
        numbered(20, "w"),
        (operationId, index) => wake(index % 2 === 0 ? one : two, "red", operationId),
        together
      )
      assert.strictEqual(outcomes.filter(given.isBegun).length, 1)
      for (const outcome of outcomes) {
        if (outcome._tag === "Refused") assert.strictEqual(outcome.view?.project.operation, "waking")
      }
      assert.strictEqual((yield* machines.pool).length, 9)
    }).pipe(Effect.provide(stores))
  )

  it.live("of two begins that waited for the same row one is refused, by the row as it is then", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const { query } = yield* TestDatabase
      yield* given.dormant("red")
      const row = yield* blocker("SELECT FROM valet.projects WHERE project_id = 'red' FOR UPDATE")
      const fibers = [
        yield* Effect.forkScoped(wake(one, "red", "one")),
        yield* Effect.forkScoped(wake(two, "red", "two"))
      ]
      const waiting = Effect.map(query(waitingStores), (rows) => rows.length === 2)
      yield* eventually(waiting)
      yield* row.release
      const outcomes = yield* Effect.forEach(fibers, Fiber.join)
      const winner = given.present(outcomes.find(given.isBegun))
      assert.deepStrictEqual(
        outcomes.filter((outcome) => outcome !== winner).map((outcome) => outcome._tag),
        ["Refused"]
      )
      assert.deepStrictEqual(yield* given.projectOf("red"), winner.project)
    }).pipe(Effect.provide(stores))
  )

  it.live("what waited for a project tells its machine's row as it is then", () =>
    Effect.gen(function* () {
      const projects = yield* Projects
      const { query } = yield* TestDatabase
      const projectId = given.projectId("red")
      yield* given.active("red")
      const moved = (privateIp: string) => `
        WITH held AS (SELECT machine FROM valet.projects WHERE project_id = 'red' FOR UPDATE)
        UPDATE valet.machines SET private_ip = '${privateIp}' FROM held WHERE name = held.machine`
      const meeting = Effect.fnUntraced(function* <A, E>(privateIp: string, change: Effect.Effect<A, E>) {
        const mover = yield* blocker(moved(privateIp))
        const fiber = yield* Effect.forkScoped(change)
        yield* eventually(Effect.map(query(waitingStores), (rows) => rows.length === 1))
        yield* mover.release
        return yield* Fiber.join(fiber)
      })
      const changed = yield* meeting("fdaa::8", projects.updateSettings(projectId, { pinned: true }))
      assert.strictEqual(Option.getOrThrow(changed).machine?.privateIp, "fdaa::8")
      const { project } = given.begun(
        yield* projects.beginArchive({ projectId, operationId: "a", leaseMs: given.leaseMs, idleMs: 0, force: true })
      )
      const aborted = yield* meeting(
        "fdaa::9",
        projects.abortArchive({
          projectId,
          by: { _tag: "Holder", lease: leaseOf(project) },
          idleSeconds: null,
          backoffMs: null,
          error: null
        })
      )
      assert.strictEqual(aborted?.machine?.privateIp, "fdaa::9")
    }).pipe(Effect.scoped, Effect.provide(stores))
  )

  it.live("an id that comes late, while its machine is being claimed, takes nothing from whoever claimed it", () =>
    Effect.gen(function* () {
      const machines = yield* Machines
      const { query } = yield* TestDatabase
      yield* given.active("red")
      const name = yield* given.ready("pool")
      const claim = yield* blocker(`
        WITH claimed AS (
          UPDATE valet.machines SET status = 'assigned', project = 'red', generation = 1, served = true
          WHERE name = 'pool' RETURNING name
        )
        UPDATE valet.projects SET machine = claimed.name FROM claimed WHERE project_id = 'red'`)
      const late = yield* Effect.forkScoped(machines.recordMachine(name, { machineId: "m-late", privateIp: null }))
      yield* eventually(Effect.map(query(waitingStores), (rows) => rows.length === 1))
      yield* claim.release
      assert.strictEqual((yield* Fiber.join(late))?.machineId, "m-pool")
      const row = yield* given.rowOf(name)
      assert.strictEqual(row.status, "assigned")
      assert.strictEqual(row.machineId, "m-pool")
    }).pipe(Effect.scoped, Effect.provide(stores))
  )

  it.live("commits go through while others touch, renew and change settings of the same rows", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const ids = numbered(8, "p")
      yield* Effect.forEach(ids, (id) => given.dormant(id))
      const busy = two
        .touch(ids.map(given.projectId))
        .pipe(
          Effect.andThen(
            Effect.forEach(ids, (id) => two.updateSettings(given.projectId(id), { idleTimeoutSeconds: 5 }), together)
          ),
          Effect.forever
        )
      const lives = Effect.forEach(
        ids,
        Effect.fnUntraced(function* (id) {
          const { project } = given.begun(yield* wake(one, id, `w-${id}`))
          const lease = leaseOf(project)
          assert.isTrue(yield* one.renew(lease, given.leaseMs))
          const machine = yield* given.cold(lease, `m${id}`)
          assert.strictEqual((yield* one.commitActive({ lease, machine }))?.machine?.served, true)
          const archiving = given.begun(
            yield* one.beginArchive({
              projectId: project.projectId,
              operationId: `a-${id}`,
              leaseMs: given.leaseMs,
              idleMs: 0,
              force: true
            })
          )
          assert.strictEqual(archiving.machine.machineId, `m-m${id}`)
          const upload = { lease: leaseOf(archiving.project), r2Key: `key-${id}` }
          assert.isTrue(yield* one.startUpload({ ...upload, urlExpiresInMs: 1000 }))
          assert.isTrue(
            yield* one.commitArchive({ ...upload, r2Checksum: given.checksum, size: 1, machineDeleteAfterMs: 0 })
          )
        }),
        together
      )
      yield* Effect.raceFirst(lives, busy)
      for (const id of ids) {
        const view = given.present(Option.getOrNull(yield* one.find(given.projectId(id))))
        assert.strictEqual(view.project.state, "dormant")
      }
    }).pipe(Effect.provide(stores))
  )

  it.live("touches of the same projects in any order don't fail", () =>
    Effect.gen(function* () {
      const one = yield* Projects
      const two = yield* secondProjects
      const ids = numbered(30, "p")
      yield* Effect.forEach(ids, (id) => given.creating(id))
      const forwards = ids.map(given.projectId)
      yield* Effect.forEach(
        numbered(40, "t"),
        (_, index) => (index % 2 === 0 ? one.touch(forwards) : two.touch(forwards.toReversed())),
        together
      )
    }).pipe(Effect.provide(stores))
  )
})
