/**
 * Wakes as the plane makes them: router and lifecycle as they are, on memory stores, a modelled Fly and machine servers
 * of this process. Each request to a database, a machine or Fly takes its latency, in the calls that are measured and in
 * no others. A fresh plane for each task.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { PlaneConfig } from "../../src/config/PlaneConfig.ts"
import { archiveKey } from "../../src/domain/Archive.ts"
import { ProjectId } from "../../src/domain/ProjectId.ts"
import { ended } from "../../src/domain/transitions/Rows.ts"
import * as Transition from "../../src/domain/transitions/Wake.ts"
import { Router } from "../../src/http/router/Router.ts"
import { layer as layerWorld } from "../../src/local/fly/FlyWorld.ts"
import { instantDelays } from "../../src/local/fly/model/FlyState.ts"
import { Signals } from "../../src/programs/background/Signals.ts"
import { Identity } from "../../src/programs/Identity.ts"
import { layerLifecycle } from "../../src/programs/lifecycle/LifecycleLive.ts"
import { replenishPool } from "../../src/programs/pool/Replenish.ts"
import { ChangeFeed } from "../../src/services/db/ChangeFeed.ts"
import { Plane } from "../../src/services/db/Plane.ts"
import * as FlyBudget from "../../src/services/fly/FlyBudget.ts"
import { Keys } from "../../src/services/Keys.ts"
import { layerKeys } from "../../src/services/KeysLive.ts"
import * as FlyMemory from "../../src/testing/fly/FlyMemory.ts"
import { type Carry, Link } from "../../src/testing/Link.ts"
import { layerFakeMachines, layerMachineClient } from "../../src/testing/machine/FakeMachines.ts"
import { MemoryDatabase } from "../../src/testing/memory/MemoryDatabase.ts"
import { layerMemoryStores } from "../../src/testing/memory/MemoryStores.ts"
import * as MemoryR2 from "../../src/testing/MemoryR2.ts"
import { layerHosts, testConfig } from "../../src/testing/TestPlane.ts"
import { BenchFailed, failed } from "../harness/Bench.ts"
import { routerDomain } from "../plane/Config.ts"
import { bytesOf, sha256 } from "./Archived.ts"
import { type Answered, type Call, latencyMs, phasesOf, type Task, type Wake } from "./Task.ts"

/** The calls made for one project: what its own fiber and those that it began have called. */
const Calls = Context.Reference<Array<Answered> | null>("valet/bench/wake/Calls", { defaultValue: () => null })

const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/** By the latencies from `measuring` on; `made` are all calls, whoever made them. */
const recorder = () => {
  const made: Array<Call> = []
  let on = false
  const carry: Carry = (to, operation) => (request) =>
    Effect.suspend(() => {
      if (!on) return request
      made.push({ to, operation })
      return Effect.gen(function* () {
        yield* Effect.sleep(latencyMs[to])
        const arrived = yield* now
        const answer = yield* request
        const calls = yield* Calls
        calls?.push({ operation, arrived, answered: yield* now })
        return answer
      })
    })
  return { carry, made, measuring: Effect.sync(() => void (on = true)) }
}

/** The statement is sent all the same. */
const layerUnlimited = Layer.effect(
  Plane,
  Effect.map(Plane, (plane) => Plane.of({ ...plane, book: (booking) => Effect.as(plane.book(booking), 0) }))
)

const layerPlane = ({ budget, projects, source, startMs }: Task, carry: Carry) => {
  const layerBudget = budget ? FlyBudget.layer : FlyBudget.layer.pipe(Layer.provide(layerUnlimited))
  const config = {
    ...testConfig,
    router: { ...testConfig.router, domain: routerDomain },
    pool: { ...testConfig.pool, size: source === "pool" ? projects : 0 }
  }
  return Router.layer.pipe(
    Layer.provideMerge(layerLifecycle),
    Layer.provideMerge(Layer.mergeAll(Identity.layer, Signals.layer, ChangeFeed.layerAlways)),
    Layer.provideMerge(Layer.mergeAll(FlyMemory.layerPolicy().pipe(Layer.provide(layerBudget)), layerMachineClient)),
    Layer.provideMerge(layerHosts),
    Layer.provideMerge(layerFakeMachines),
    Layer.provideMerge(Layer.mergeAll(layerKeys, layerMemoryStores, MemoryR2.layer)),
    Layer.provideMerge(
      layerWorld({ seed: 1, params: { rateLimits: budget, delays: { ...instantDelays, bootMs: startMs } } })
    ),
    Layer.provideMerge(Layer.mergeAll(Layer.succeed(PlaneConfig, config), SecureRandom.layerWebCrypto)),
    Layer.provide(Layer.succeed(Link, carry))
  )
}

/** A project that has an archive and nothing else. */
const dormant = Effect.fnUntraced(function* (n: number) {
  const keys = yield* Keys
  const { apply, atomically } = yield* MemoryDatabase
  const { fly } = yield* PlaneConfig
  const projectId = ProjectId.make(`dormant-${n}`)
  const uid = `uid-${n}`
  const archive = bytesOf(uid)
  const r2Key = archiveKey(uid, 1, "bench")
  const deployKey = yield* keys.seal(uid, yield* keys.newDeployKey)
  const asked = {
    projectId,
    uid,
    region: fly.region,
    deployKey,
    idleTimeoutSeconds: null,
    operationId: uid,
    leaseMs: 0
  }
  yield* atomically((at) => {
    const { project } = Transition.create(asked, null, at)
    const row = {
      r2Key,
      projectId,
      projectUid: uid,
      generation: project.generation,
      r2Checksum: sha256(archive),
      size: archive.length,
      urlExpiresAt: at,
      status: "current",
      attempts: 0,
      nextAttemptAt: null,
      lastError: null,
      createdAt: at
    } as const
    apply({ project: ended(project), machines: [], archives: [row], events: [] }, at)
  })
  yield* (yield* MemoryR2.MemoryR2).overwrite(r2Key, archive)
  return projectId
})

/** Longer than a hundred machines take within Fly's budget. */
const patience = "10 minutes"

/** As a client asks: again where it was told so, until it is replayed to a machine. */
const wake = Effect.fnUntraced(function* (projectId: ProjectId) {
  const router = yield* Router
  const request = { method: "GET", url: "/", rawHeaders: ["Host", `${projectId}.${routerDomain}`] }
  const calls: Array<Answered> = []
  const begun = yield* now
  yield* Effect.suspend(() => {
    const hot = router.tryRoute(request)
    return hot === undefined ? router.route(request) : Effect.succeed(hot)
  }).pipe(
    Effect.filterOrFail(
      (answer) => answer?.headers["fly-replay"] !== undefined,
      (answer) => answer
    ),
    Effect.tapError((answer) => Effect.sleep(1_000 * Number(answer?.headers["retry-after"] ?? 1))),
    Effect.retry(Schedule.forever),
    Effect.timeout(patience),
    Effect.mapError((error) => new BenchFailed({ detail: `${projectId} is not replayed: ${JSON.stringify(error)}` })),
    Effect.provideService(Calls, calls)
  )
  return phasesOf(begun, calls, yield* now)
})

export interface PlaneWakes {
  readonly wakes: ReadonlyArray<Wake>
  readonly calls: ReadonlyArray<Call>
}

export const planeWakes = (task: Task): Effect.Effect<PlaneWakes, BenchFailed> => {
  const { carry, made, measuring } = recorder()
  return Effect.gen(function* () {
    const ids = yield* Effect.forEach(Array.from({ length: task.projects }), (_, n) => dormant(n))
    if (task.source === "pool") yield* replenishPool
    yield* measuring
    const wakes = yield* Effect.forEach(ids, wake, { concurrency: task.atOnce })
    return { wakes, calls: made }
  }).pipe(
    Effect.provide(layerPlane(task, carry)),
    Effect.scoped,
    Effect.mapError((error) => (error instanceof BenchFailed ? error : failed("a plane")(error)))
  )
}
