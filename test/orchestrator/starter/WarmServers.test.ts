/** Warm servers on the test clock: kept, handed out, replaced, and given up for good where a claim failed. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { ProjectPlan } from "../../../src/orchestrator/ProjectFolders.ts"
import { Starter } from "../../../src/orchestrator/Starter.ts"
import { WarmServers } from "../../../src/orchestrator/WarmServers.ts"
import { FakeServerHost } from "../../../src/testing/FakeServerHost.ts"
import { FakeClaims, keepAwakeUrl, layerImagined, pass, plan } from "./support.ts"

const isWarm = (name: string) => name.startsWith("_warm-")
const warmOnes = Effect.flatMap(FakeServerHost, ({ live }) =>
  Effect.map(live, (all) => all.filter(({ name }) => isWarm(name)))
)
const ready = Effect.flatMap(WarmServers, (warm) => warm.ready)

const begin = (of: ProjectPlan) =>
  Effect.flatMap(Starter, ({ start }) => Effect.forkChild(start(of, { SUPERVISORS: "1" }), { startImmediately: true }))
const start = Effect.fnUntraced(function* (of: ProjectPlan, withinMs = 200) {
  const fiber = yield* begin(of)
  yield* pass(withinMs)
  return yield* Fiber.join(fiber)
})

describe("warm servers", () => {
  it.effect("are kept, each with its own secret, token and folders, and know where to say that they are busy", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* pass(500)
      assert.strictEqual(yield* ready, 2)
      const [first, second] = (yield* host.launches).map(({ launch }) => launch)
      assert.isDefined(first)
      assert.isDefined(second)
      assert.deepStrictEqual(first.command, ["default-server"])
      for (const { env } of [first, second]) {
        assert.strictEqual(env["VALET_KEEP_AWAKE_URL"], keepAwakeUrl)
        assert.strictEqual(env["VALET_IDLE_SUSPEND"], "fly")
        assert.strictEqual(env["DATABASE_PATH"], `${env["DATA_DIR"]}/project.db`)
        assert.isUndefined(env["PROJECT_ID"])
      }
      for (const name of ["VALET_INTERNAL_SECRET", "VALET_KEEP_AWAKE_TOKEN", "DATA_DIR", "VALET_STATE_DIR"]) {
        assert.isAtLeast(first.env[name]?.length ?? 0, 10)
        assert.notStrictEqual(first.env[name], second.env[name], name)
      }
    }).pipe(Effect.provide(layerImagined({ warmServers: 2 })))
  )

  it.effect("become a project's by one call, and another one is started in their place", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const fake = yield* FakeClaims
      yield* pass(500)
      const [server] = yield* warmOnes
      assert.isDefined(server)
      const of = plan("red", {
        env: { PROJECT_ID: "red", DEPLOY_KEY: "dk", DATABASE_PATH: "/projects/red/project.db" }
      })
      const started = yield* start(of)
      assert.isTrue(started.warm)
      assert.isTrue(started.hasHealthPath)
      assert.strictEqual(started.process.pid, server.pid)
      assert.strictEqual(started.keepAwakeToken, server.launch.env["VALET_KEEP_AWAKE_TOKEN"])
      assert.deepStrictEqual([...fake.assigned.values()], ["/projects/red"])
      const [claim] = fake.claims
      assert.isDefined(claim)
      assert.strictEqual(claim.port, server.port)
      assert.strictEqual(Redacted.value(claim.secret), server.launch.env["VALET_INTERNAL_SECRET"])
      const { project_uid, ...said } = claim.request
      assert.deepStrictEqual(said, { project_id: "red", deploy_key: "dk", generation: 1, idle_timeout_seconds: 0 })
      assert.match(project_uid, /^[0-9a-f]{32}$/)

      // Not at once: the cores are for those who are being claimed.
      assert.strictEqual(yield* ready, 0)
      assert.deepStrictEqual(
        (yield* host.live).map(({ name }) => name),
        ["red"]
      )
      yield* pass(1_000)
      assert.strictEqual(yield* ready, 1)
      assert.deepStrictEqual((yield* host.live).map(({ name }) => name).toSorted(), ["_warm-1", "red"])
      const again = yield* start(plan("red2"))
      assert.isTrue(again.warm)
      assert.notStrictEqual(again.process.pid, started.process.pid)
      assert.notStrictEqual(fake.claims.at(-1)?.request.project_uid, project_uid)
      assert.isAtLeast(fake.claims.at(-1)?.request.deploy_key.length ?? 0, 26)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("have the same uid for the same project, and end with the scope of whoever took them", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const fake = yield* FakeClaims
      yield* pass(500)
      for (let round = 0; round < 2; round++) {
        const scope = yield* Scope.make()
        assert.isTrue((yield* Scope.provide(start(plan("red")), scope)).warm)
        yield* pass(1_000)
        assert.strictEqual(fake.folders.size, 2)
        yield* Scope.close(scope, Exit.void)
        assert.isFalse((yield* host.live).some(({ name }) => name === "red"))
        assert.strictEqual(fake.folders.size, 1)
      }
      assert.strictEqual(new Set(fake.claims.map(({ request }) => request.project_uid)).size, 1)
      assert.strictEqual(yield* host.maxLivePerName, 1)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("are handed out once, whoever asks at the same time; others are launched", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* pass(500)
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (id) => begin(plan(id)))
      yield* pass(300)
      const started = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(started.filter(({ warm }) => warm).length, 2)
      assert.strictEqual(new Set(started.map(({ process }) => process.pid)).size, 4)
      const cold = (yield* host.launches).filter(({ launch }) => launch.env["SUPERVISORS"] === "1")
      assert.lengthOf(cold, 2)
    }).pipe(Effect.provide(layerImagined({ warmServers: 2 })))
  )

  it.effect("that need longer to be configured are asked again until they are ready", () =>
    Effect.gen(function* () {
      const fake = yield* FakeClaims
      fake.answer = 3
      yield* pass(500)
      const fiber = yield* begin(plan("red"))
      yield* pass(100)
      assert.isUndefined(fiber.pollUnsafe())
      yield* pass(100)
      assert.isTrue((yield* Fiber.join(fiber)).warm)
      assert.lengthOf(fake.claims, 4)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("are left alone where the plan asks for a server of its own", () =>
    Effect.gen(function* () {
      const fake = yield* FakeClaims
      yield* pass(500)
      fake.withState.add("/projects/volume")
      const elsewhere = { DATABASE_PATH: "/projects/elsewhere/other.db" }
      for (const of of [plan("own", { warm: false }), plan("volume"), plan("elsewhere", { env: elsewhere })]) {
        assert.isFalse((yield* start(of)).warm, of.id)
      }
      assert.isEmpty(fake.claims)
      assert.strictEqual(yield* ready, 1)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )
})

describe("a claim that fails", () => {
  const cases = {
    "because it is refused": { answer: "refused", withinMs: 200 },
    "because it is never answered": { answer: "silent", withinMs: 10_200 },
    "because the server says that it is another project's": { answer: 0, says: "blue", withinMs: 200 },
    "because it is not healthy afterwards": { answer: 0, says: null, health: "unhealthy", withinMs: 10_300 }
  } as const
  for (const [title, { answer, withinMs, ...more }] of Object.entries(cases)) {
    it.effect(`${title} ends that server for good, before another one is launched`, () =>
      Effect.gen(function* () {
        const host = yield* FakeServerHost
        const fake = yield* FakeClaims
        fake.answer = answer
        fake.says = "says" in more ? more.says : undefined
        yield* host.setScripts((name) => (isWarm(name) ? { stopsAfterMs: 40 } : {}))
        yield* pass(100)
        const [server] = yield* warmOnes
        assert.isDefined(server)
        if ("health" in more) yield* host.change(server.name, { health: more.health })
        const started = yield* start(plan("red"), withinMs)
        assert.isFalse(started.warm)
        assert.isUndefined(started.keepAwakeToken)
        assert.notStrictEqual(started.process.pid, server.pid)
        assert.deepStrictEqual(
          (yield* host.stops).map(({ pid }) => pid),
          [server.pid]
        )
        yield* pass(1_000)
        assert.strictEqual(yield* host.maxLivePerName, 1)
        assert.strictEqual(fake.folders.size, 1)
        assert.strictEqual(yield* ready, 1)
      }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
    )
  }

  it.effect("because the server ends meanwhile is noticed at once", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const fake = yield* FakeClaims
      fake.answer = "silent"
      yield* pass(500)
      const fiber = yield* begin(plan("red"))
      yield* pass(100)
      yield* host.exit("red", 1)
      yield* pass(200)
      assert.isFalse((yield* Fiber.join(fiber)).warm)
      assert.strictEqual(yield* host.maxLivePerName, 1)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("because it is interrupted leaves no server that anybody could be given", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const fake = yield* FakeClaims
      fake.answer = "silent"
      yield* pass(500)
      const fiber = yield* begin(plan("red"))
      yield* pass(100)
      assert.strictEqual((yield* host.live).filter(({ name }) => name === "red").length, 1)
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* pass(200)
      yield* Fiber.join(interruption)
      assert.isFalse((yield* host.live).some(({ name }) => name === "red"))
      fake.answer = 0
      yield* pass(1_000)
      const pids = (yield* warmOnes).map(({ pid }) => pid)
      const next = yield* start(plan("blue"))
      assert.include(pids, next.process.pid)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )
})

describe("a warm server", () => {
  it.effect("that can't be launched is tried again after 1, 2, 4, 8, 16 and then every 30 s", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const tries: Array<number> = []
      const clock = yield* Clock.Clock
      yield* host.setScripts(() => {
        tries.push(clock.currentTimeMillisUnsafe() / 1_000)
        return { launchError: "no such program" }
      })
      yield* pass(95_000, 1_000)
      assert.deepStrictEqual(tries, [0, 1, 3, 7, 15, 31, 61, 91])
      yield* host.setScripts(() => ({}))
      yield* pass(30_000, 1_000)
      assert.strictEqual(yield* ready, 1)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("that is never ready is ended after the spawn timeout, and its folder goes", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      const fake = yield* FakeClaims
      yield* host.setScripts((_name, nth) => (nth === 1 ? { acceptsAfterMs: null } : {}))
      yield* pass(30_000, 1_000)
      assert.isEmpty(yield* host.live)
      assert.strictEqual(fake.folders.size, 0)
      yield* pass(1_100)
      assert.strictEqual(yield* ready, 1)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("that ends is replaced", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* pass(500)
      const [server] = yield* warmOnes
      assert.isDefined(server)
      yield* host.exit(server.name, 1)
      yield* pass(100)
      assert.strictEqual(yield* ready, 0)
      yield* pass(1_200)
      assert.strictEqual(yield* ready, 1)
      assert.notStrictEqual((yield* warmOnes)[0]?.pid, server.pid)
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("that fails its health check is ended and replaced", () =>
    Effect.gen(function* () {
      const host = yield* FakeServerHost
      yield* pass(500)
      const [server] = yield* warmOnes
      assert.isDefined(server)
      yield* host.change(server.name, { health: "unhealthy" })
      yield* pass(13_000)
      assert.strictEqual(yield* ready, 1)
      yield* host.setScripts(() => ({ acceptsAfterMs: 60_000 }))
      yield* pass(2_000)
      assert.strictEqual(yield* ready, 0)
      assert.isFalse((yield* host.live).some(({ pid }) => pid === server.pid))
    }).pipe(Effect.provide(layerImagined({ warmServers: 1 })))
  )

  it.effect("is ended with the orchestrator, and so is one that is just being started", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const services = yield* Layer.buildWithScope(layerImagined({ warmServers: 3 }), scope)
      const host = Context.get(services, FakeServerHost)
      const fake = Context.get(services, FakeClaims)
      yield* host.setScripts((name) => (name === "_warm-3" ? { acceptsAfterMs: null } : {}))
      yield* pass(500)
      assert.lengthOf(yield* host.live, 3)
      yield* Scope.close(scope, Exit.void)
      assert.isEmpty(yield* host.live)
      assert.strictEqual(fake.folders.size, 0)
      assert.strictEqual(yield* Context.get(services, WarmServers).ready, 0)
    })
  )
})
