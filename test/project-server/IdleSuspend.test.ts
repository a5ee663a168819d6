import * as Fs from "node:fs"
import * as Http from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { Control } from "../../src/project-server/Control.ts"
import { Gate } from "../../src/project-server/Gate.ts"
import * as IdleSuspend from "../../src/project-server/IdleSuspend.ts"
import { unconfigured, type MachineState } from "../../src/project-server/MachineState.ts"
import { ProjectServerConfig } from "../../src/project-server/ProjectServerConfig.ts"
import { StateFile } from "../../src/project-server/StateFile.ts"
import { configOf, temporaryFolder } from "./harness.ts"

const target = { api: "/.fly/api", app: "machines", machine: "m1" }
const ready: MachineState = { ...unconfigured, project: "demo", uid: "u1", ready: true }

interface World {
  state: MachineState
  working: boolean
  /** What happens to the call: seconds since the start stand in `calls`. */
  suspend: Effect.Effect<void, IdleSuspend.SuspendError>
  readonly calls: Array<number>
}

const setup = (change: Partial<World> = {}, own = true) =>
  Effect.gen(function* () {
    const world: World = { state: ready, working: false, suspend: Effect.void, calls: [], ...change }
    const context = yield* Layer.build(
      IdleSuspend.layer.pipe(
        Layer.provideMerge(Gate.layer),
        Layer.provide([
          Layer.succeed(ProjectServerConfig, configOf("/nowhere", { suspend: own ? target : null })),
          Layer.mock(StateFile)({ current: () => world.state }),
          Layer.mock(Control)({ working: () => world.working }),
          Layer.mock(IdleSuspend.MachineSuspend)({
            suspend: () =>
              Effect.flatMap(Clock.currentTimeMillis, (now) => {
                world.calls.push(now / 1000)
                return world.suspend
              })
          })
        ])
      )
    )
    const gate = Context.get(context, Gate)
    gate.open()
    return { world, gate }
  })

const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds }), () => TestClock.adjust("1 second"), { discard: true })

describe("a server that nobody uses", () => {
  it.effect("suspends its machine after the idle timeout, again and again", () =>
    Effect.gen(function* () {
      const { world } = yield* setup()
      yield* pass(299)
      assert.deepStrictEqual(world.calls, [])
      yield* pass(1)
      assert.deepStrictEqual(world.calls, [300])
      yield* pass(300)
      assert.deepStrictEqual(world.calls, [300, 600])
    })
  )

  it.effect("waits for connections and requests, and then the whole timeout", () =>
    Effect.gen(function* () {
      const { world, gate } = yield* setup()
      yield* pass(200)
      gate.connected()
      yield* pass(1000)
      assert.deepStrictEqual(world.calls, [])
      gate.disconnected()
      yield* pass(250)
      assert.isTrue(gate.enter())
      yield* pass(400)
      gate.leave()
      yield* pass(295)
      assert.deepStrictEqual(world.calls, [])
      yield* pass(10)
      assert.strictEqual(world.calls.length, 1)
    })
  )

  it.effect("follows a changed timeout, and never with 0", () =>
    Effect.gen(function* () {
      const { world } = yield* setup({ state: { ...ready, idle_timeout_seconds: 0 } })
      yield* pass(2000)
      assert.deepStrictEqual(world.calls, [])
      world.state = { ...ready, idle_timeout_seconds: 20 }
      yield* pass(25)
      assert.strictEqual(world.calls.length, 1)
    })
  )

  it.effect("never while unconfigured, sealed, or inside a call of the control plane", () =>
    Effect.gen(function* () {
      const { world } = yield* setup({ state: unconfigured })
      yield* pass(1000)
      world.state = { ...ready, sealed: true }
      yield* pass(1000)
      world.state = ready
      world.working = true
      yield* pass(1000)
      assert.deepStrictEqual(world.calls, [])
      world.working = false
      // What waited in the pool gets its whole time once it serves.
      yield* pass(294)
      assert.deepStrictEqual(world.calls, [])
      yield* pass(6)
      assert.strictEqual(world.calls.length, 1)
    })
  )

  it.effect("never where Fly does it", () =>
    Effect.gen(function* () {
      const { world } = yield* setup({}, false)
      yield* pass(1000)
      assert.deepStrictEqual(world.calls, [])
    })
  )

  it.effect("backs off when it can't", () =>
    Effect.gen(function* () {
      const { world } = yield* setup({ suspend: Effect.fail(new IdleSuspend.SuspendError({ detail: "answered 503" })) })
      yield* pass(300 + 330 + 360 + 420)
      assert.deepStrictEqual(world.calls, [300, 630, 990, 1410])
      world.suspend = Effect.void
      yield* pass(540 + 300)
      assert.deepStrictEqual(world.calls.slice(4), [1950, 2250])
    })
  )

  it.effect("a lost answer after a sleep is no failure", () =>
    Effect.gen(function* () {
      const { world } = yield* setup({
        suspend: Effect.andThen(
          Effect.sleep("1 hour"),
          Effect.fail(new IdleSuspend.SuspendError({ detail: "ECONNRESET" }))
        )
      })
      yield* pass(300)
      yield* TestClock.adjust("1 hour")
      yield* pass(299)
      assert.strictEqual(world.calls.length, 1)
      yield* pass(1)
      assert.strictEqual(world.calls.length, 2)
    })
  )
})

describe("a machine that was frozen", () => {
  it.effect("starts the timer again", () =>
    Effect.gen(function* () {
      const testClock = yield* Clock.Clock
      let frozen = 0n
      const clock: Clock.Clock = {
        currentTimeMillisUnsafe: () => testClock.currentTimeMillisUnsafe(),
        currentTimeMillis: testClock.currentTimeMillis,
        monotonicTimeNanosUnsafe: () => testClock.monotonicTimeNanosUnsafe() + frozen,
        monotonicTimeNanos: Effect.sync(() => testClock.monotonicTimeNanosUnsafe() + frozen),
        currentTimeNanosUnsafe: () => testClock.currentTimeNanosUnsafe(),
        currentTimeNanos: testClock.currentTimeNanos,
        sleep: (duration) => testClock.sleep(duration)
      }
      const { world } = yield* Effect.provideService(setup(), Clock.Clock, clock)
      yield* pass(100)
      frozen = 3_600_000_000_000n
      yield* pass(290)
      assert.deepStrictEqual(world.calls, [])
      yield* pass(20)
      assert.strictEqual(world.calls.length, 1)
    })
  )
})

describe("the machine's own API", () => {
  const api = (listen: string, status: number) =>
    Effect.gen(function* () {
      const requests: Array<string> = []
      const server = Http.createServer((request, response) => {
        requests.push(`${request.method} ${request.headers.host} ${request.url}`)
        response.writeHead(status).end("{}")
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(listen, () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close())
      )
      return requests
    })

  it.live("is called through its socket", () =>
    Effect.gen(function* () {
      const socket = `${yield* temporaryFolder}/api`
      const requests = yield* api(socket, 200)
      const { suspend } = yield* IdleSuspend.MachineSuspend
      yield* suspend({ ...target, api: socket })
      assert.deepStrictEqual(requests, ["POST flaps /v1/apps/machines/machines/m1/suspend"])
    }).pipe(Effect.provide(IdleSuspend.MachineSuspend.layer))
  )

  it.live("fails where it is not, or refuses", () =>
    Effect.gen(function* () {
      const socket = `${yield* temporaryFolder}/api`
      const { suspend } = yield* IdleSuspend.MachineSuspend
      assert.strictEqual((yield* Effect.flip(suspend({ ...target, api: socket }))).detail, "ENOENT")
      yield* api(socket, 409)
      assert.isTrue(Fs.existsSync(socket))
      assert.strictEqual((yield* Effect.flip(suspend({ ...target, api: socket }))).detail, "answered 409")
    }).pipe(Effect.provide(IdleSuspend.MachineSuspend.layer))
  )
})
