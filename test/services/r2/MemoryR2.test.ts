import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { R2 } from "../../../src/services/r2/R2.ts"
import { layer, MemoryR2, type Fault, type Operation } from "../../../src/testing/MemoryR2.ts"

const body = new TextEncoder().encode("0123456789")

const put = Effect.fnUntraced(function* (key: string) {
  const { url, headers } = yield* (yield* R2).presignPut(key, 60)
  return (yield* (yield* MemoryR2).put(url, { headers, body })).status
})

const faultOn = (operation: Operation, fault: Fault) =>
  Effect.flatMap(MemoryR2, (memory) => memory.setFaults((asked) => Effect.succeed(asked === operation ? fault : {})))

describe("R2 in memory", () => {
  it.effect("URLs end at their time", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryR2
      const { url, headers, expiresAt } = yield* (yield* R2).presignPut("k", 60)
      yield* TestClock.setTime(expiresAt)
      assert.strictEqual((yield* memory.put(url, { headers, body })).status, 403)
      yield* TestClock.setTime(expiresAt - 1)
      assert.strictEqual((yield* memory.put(url, { headers, body })).status, 200)
      const get = yield* (yield* R2).presignGet("k", 1)
      assert.strictEqual((yield* memory.get(get.url)).status, 200)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* memory.get(get.url)).status, 403)
    }).pipe(Effect.provide(layer))
  )

  it.effect("a cut upload is not stored", () =>
    Effect.gen(function* () {
      const { url, headers } = yield* (yield* R2).presignPut("k", 60)
      const answer = yield* (yield* MemoryR2).put(url, { headers, body, contentLength: 11 })
      assert.strictEqual(answer.status, 400)
      assert.deepStrictEqual(yield* (yield* R2).head("k"), Option.none())
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    ["not_stored", 200, null],
    ["unavailable", 503, null],
    ["unavailable_after", 503, 10],
    ["denied", 403, null],
    ["short", 200, 5],
    ["corrupt", 200, 10]
  ] as const)("an upload with the fault %s answers %i", ([outcome, status, size]) =>
    Effect.gen(function* () {
      yield* faultOn("put", { outcome })
      assert.strictEqual(yield* put("k"), status)
      const stored = (yield* (yield* MemoryR2).objects).get("k")
      assert.strictEqual(stored?.length ?? null, size)
      if (outcome === "corrupt") assert.notDeepEqual(stored, body)
    }).pipe(Effect.provide(layer))
  )

  it.effect("a fault of a call comes before or after its effect", () =>
    Effect.gen(function* () {
      const r2 = yield* R2
      yield* put("k")
      yield* faultOn("delete", { outcome: "unavailable" })
      assert.strictEqual((yield* Effect.flip(r2.delete("k"))).reason, "Unavailable")
      assert.isTrue(Option.isSome(yield* r2.head("k")))
      yield* faultOn("delete", { outcome: "unavailable_after" })
      assert.strictEqual((yield* Effect.flip(r2.delete("k"))).reason, "Unavailable")
      assert.isTrue(Option.isNone(yield* r2.head("k")))
      yield* (yield* MemoryR2).clearFaults
      yield* r2.delete("k")
    }).pipe(Effect.provide(layer))
  )

  it.effect("damage shows in what is read back", () =>
    Effect.gen(function* () {
      const r2 = yield* R2
      const memory = yield* MemoryR2
      yield* put("k")
      const whole = yield* r2.checksum("k")
      yield* memory.corrupt("k")
      const corrupt = yield* r2.checksum("k")
      assert.strictEqual(corrupt.size, whole.size)
      assert.notStrictEqual(corrupt.sha256, whole.sha256)
      yield* memory.corrupt("k")
      assert.deepStrictEqual(yield* r2.checksum("k"), whole)
      yield* memory.truncate("k")
      assert.strictEqual((yield* r2.checksum("k")).size, 5)
      yield* memory.overwrite("k", null)
      assert.strictEqual((yield* Effect.flip(r2.checksum("k"))).reason, "Missing")
    }).pipe(Effect.provide(layer))
  )

  it.effect("latency passes on the Clock, and an upload is stored at its end", () =>
    Effect.gen(function* () {
      yield* faultOn("put", { latencyMs: 5_000 })
      const begun = yield* Clock.currentTimeMillis
      const fiber = yield* Effect.forkChild(put("k"))
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(Option.isNone(yield* (yield* R2).head("k")))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(fiber), 200)
      assert.strictEqual((yield* Clock.currentTimeMillis) - begun, 5_000)
    }).pipe(Effect.provide(layer))
  )
})
