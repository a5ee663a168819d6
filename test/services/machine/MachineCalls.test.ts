import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import type { Fault } from "../../../src/testing/machine/FakeMachines.ts"
import { FakeMachines, layerFakeMachines } from "../../../src/testing/machine/FakeMachines.ts"
import * as MemoryR2 from "../../../src/testing/MemoryR2.ts"
import { MachineClient, type MachineError } from "../../../src/services/machine/MachineClient.ts"
import { R2 } from "../../../src/services/r2/R2.ts"
import { bootMachine, configured, layerTestKeys } from "./fakes.ts"

const layer = layerFakeMachines.pipe(Layer.provideMerge([MemoryR2.layer, layerTestKeys(configured({}))]))

const body = { project_id: "p", project_uid: "u", deploy_key: "dk_x", generation: 1 }

/** Runs a call to its end on the test's clock: what it gave, and how long that took. */
const timed = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const begun = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(
      Effect.flatMap(Effect.exit(call), (exit) =>
        Effect.map(Clock.currentTimeMillis, (now) => ({ exit, ms: now - begun }))
      ),
      { startImmediately: true }
    )
    for (let step = 0; step < 4_000 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust(50)
    return yield* Fiber.join(fiber)
  })

/** Each request draws the next fault; the last one stays. */
const faults = (sequence: ReadonlyArray<Fault>) =>
  Effect.gen(function* () {
    const fakes = yield* FakeMachines
    const seen: Array<string> = []
    yield* fakes.setFaults((call) =>
      Effect.sync(() => {
        seen.push(call)
        return sequence[Math.min(seen.length - 1, sequence.length - 1)] ?? {}
      })
    )
    return seen
  })

const reason = (error: MachineError) => error.reason

describe("a call to a machine", () => {
  it.effect("is retried five times behind growing pauses where its answer was lost", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const target = yield* bootMachine
      const seen = yield* faults([{ outcome: "unreachable_after" }])
      const { exit, ms } = yield* timed(Effect.flip(client.configure(target, body, { limitMs: 60_000 })))
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(seen.length, 6)
      assert.isAtLeast(ms, 6_200 * 0.8)
      assert.isAtMost(ms, 6_200 * 1.2 + 300)
      const health = yield* Effect.andThen(
        Effect.flatMap(FakeMachines, ({ clearFaults }) => clearFaults),
        client.health(target, { limitMs: 1_000 })
      )
      assert.strictEqual(health.project_id, "p", "it had arrived all the same")
    }).pipe(Effect.provide(layer))
  )

  it.effect("succeeds by itself once the machine answers", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const target = yield* bootMachine
      const seen = yield* faults([{ outcome: "unreachable_after" }, { outcome: "unreachable_after" }, {}])
      const { exit } = yield* timed(client.configure(target, body, { limitMs: 10_000 }))
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(seen.length, 3)
    }).pipe(Effect.provide(layer))
  )

  it.effect("waits for a machine that still boots, longer than any number of retries", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const target = yield* bootMachine
      yield* fakes.stop(target.machineId)
      const boot = Effect.andThen(
        Effect.sleep(20_000),
        fakes.boot(target.machineId, { volumeId: "v", secret: "other" })
      )
      yield* Effect.forkChild(boot)
      const { exit, ms } = yield* timed(client.health(target, { limitMs: 30_000 }))
      assert.strictEqual(exit._tag, "Success")
      assert.isAtLeast(ms, 20_000)
      assert.isAtMost(ms, 20_500)
    }).pipe(Effect.provide(layer))
  )

  it.effect("ends at its limit, and says what it last saw", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const target = yield* bootMachine
      yield* fakes.stop(target.machineId)
      const { exit, ms } = yield* timed(Effect.map(Effect.flip(client.health(target, { limitMs: 2_000 })), reason))
      assert.deepStrictEqual(exit._tag === "Success" ? exit.value.detail : "", "not done within 2000 ms: ENOTFOUND")
      assert.isAtMost(ms, 2_050)
    }).pipe(Effect.provide(layer))
  )

  it.effect("with one attempt says at once that nobody answered", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const target = yield* bootMachine
      const seen = yield* faults([{ outcome: "unreachable" }])
      const once = client.configure(target, body, { limitMs: 60_000, attempts: 1 })
      const { exit, ms } = yield* timed(Effect.map(Effect.flip(once), reason))
      assert.strictEqual(exit._tag === "Success" ? exit.value._tag : "", "Unreachable")
      assert.deepStrictEqual([seen.length, ms], [1, 0])
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is slow is given up per attempt, not for ever", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const target = yield* bootMachine
      const seen = yield* faults([{ latencyMs: 3_600_000 }, {}])
      const { exit, ms } = yield* timed(client.health(target, { limitMs: 60_000 }))
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(seen.length, 2)
      assert.isAtMost(ms, 5_500)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never retries what the machine said", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const target = yield* bootMachine
      yield* client.configure(target, { ...body, generation: 3 }, { limitMs: 1_000 })
      const seen = yield* faults([{}])
      const { exit, ms } = yield* timed(
        Effect.map(Effect.flip(client.configure(target, body, { limitMs: 9_000 })), reason)
      )
      assert.strictEqual(exit._tag === "Success" ? exit.value._tag : "", "Stale")
      assert.deepStrictEqual([seen.length, ms], [1, 0])
    }).pipe(Effect.provide(layer))
  )

  it.effect("polls while the machine is at it, and tells of each answer", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const r2 = yield* R2
      const memory = yield* MemoryR2.MemoryR2
      const target = yield* bootMachine
      yield* client.configure(target, body, { limitMs: 1_000 })
      yield* memory.setFaults((operation) => Effect.succeed(operation === "put" ? { latencyMs: 30_000 } : {}))
      const { url, headers } = yield* r2.presignPut("k", 600)
      const reports: Array<number> = []
      const request = {
        project_uid: "u",
        generation: 2,
        r2_key: "k",
        upload_url: url,
        headers,
        idle_window_seconds: 0
      }
      const onProgress = (bytes: number) => Effect.sync(() => void reports.push(bytes))
      const { exit, ms } = yield* timed(client.archiveToR2(target, request, { limitMs: 60_000, onProgress }))
      assert.strictEqual(exit._tag, "Success")
      assert.isAbove(reports.length, 15)
      assert.isAtMost(ms, 31_000)
      assert.strictEqual((yield* memory.objects).size, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("may arrive twice and late, and does nothing then", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const r2 = yield* R2
      const target = yield* bootMachine
      const limit = { limitMs: 10_000 }
      yield* client.configure(target, body, limit)
      const { url, headers } = yield* r2.presignPut("k2", 600)
      const request = {
        project_uid: "u",
        generation: 2,
        r2_key: "k2",
        upload_url: url,
        headers,
        idle_window_seconds: 0
      }
      yield* fakes.setFaults(() => Effect.succeed({ duplicate: true, lateMs: 5_000 }))
      yield* client.archiveToR2(target, request, limit)
      yield* fakes.clearFaults
      yield* client.unseal(target, { project_uid: "u", generation: 3 }, limit)
      yield* TestClock.adjust(10_000)
      const write = { machineId: target.machineId, projectId: "p", document: "d", write: "1" }
      assert.strictEqual((yield* fakes.request(write))._tag, "Acknowledged", "the late copy did not seal it again")
    }).pipe(Effect.provide(layer))
  )
})

describe("the fakes' volumes", () => {
  it.effect("hold what was acknowledged, are forked as they are, and go when they are destroyed", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const target = yield* bootMachine
      const volume = `vol-${target.machineId}`
      yield* client.configure(target, body, { limitMs: 1_000 })
      const write = { machineId: target.machineId, projectId: "p", document: "d", write: "1" }
      yield* fakes.request(write)
      yield* fakes.forkVolume(volume, "fork")
      yield* fakes.request({ ...write, write: "2" })
      assert.strictEqual((yield* fakes.volume("fork"))?.documents.get("d"), "1")
      assert.strictEqual((yield* fakes.volume(volume))?.documents.get("d"), "2")
      yield* fakes.destroyVolume("fork")
      assert.isNull(yield* fakes.volume("fork"))
    }).pipe(Effect.provide(layer))
  )

  it.effect("a server is idle after its timeout, not while connected, sealed or unconfigured", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const target = yield* bootMachine
      yield* client.health(target, { limitMs: 1_000 })
      yield* TestClock.adjust(3_600_000)
      assert.deepStrictEqual(yield* fakes.idle(300), [])
      yield* client.configure(target, { ...body, idle_timeout_seconds: 60 }, { limitMs: 1_000 })
      yield* TestClock.adjust(59_000)
      assert.deepStrictEqual(yield* fakes.idle(300), [])
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(yield* fakes.idle(300), [target.machineId])
      const whileConnected = Effect.andThen(
        fakes.connect(target.machineId, "p"),
        Effect.andThen(TestClock.adjust(600_000), fakes.idle(300))
      )
      assert.deepStrictEqual(yield* Effect.scoped(whileConnected), [])
    }).pipe(Effect.provide(layer))
  )

  it.effect("a seal that fails leaves it open, a restore that fails leaves it unready", () =>
    Effect.gen(function* () {
      const client = yield* MachineClient
      const fakes = yield* FakeMachines
      const r2 = yield* R2
      const target = yield* bootMachine
      const limit = { limitMs: 10_000 }
      yield* client.configure(target, body, limit)
      const { url, headers } = yield* r2.presignPut("k3", 600)
      const request = {
        project_uid: "u",
        generation: 2,
        r2_key: "k3",
        upload_url: url,
        headers,
        idle_window_seconds: 0
      }
      yield* faults([{ outcome: "seal_fails" }, {}])
      const sealing = yield* Effect.flip(client.archiveToR2(target, request, limit))
      assert.strictEqual(sealing.reason._tag, "ArchiveFailed")
      assert.isFalse((yield* client.health(target, limit)).sealed)

      const archive = yield* client.archiveToR2(target, request, limit)
      const fresh = yield* bootMachine
      const restore = { ...archive, download_url: (yield* r2.presignGet("k3", 600)).url }
      yield* faults([{ outcome: "restore_fails" }, {}])
      const again = client.configure(fresh, { ...body, generation: 3, restore }, limit)
      assert.strictEqual((yield* Effect.flip(again)).reason._tag, "RestoreFailed")
      assert.strictEqual((yield* again).restored_bytes, archive.size)
      yield* fakes.clearFaults
    }).pipe(Effect.provide(layer))
  )
})
