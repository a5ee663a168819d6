import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { layerEnvironment } from "../../src/config/Environment.ts"
import { MachineName } from "../../src/domain/Machine.ts"
import { Keys } from "../../src/services/Keys.ts"
import { layerKeys } from "../../src/services/KeysLive.ts"

const older = "older secret of thirty-two chars"
const newer = "newer secret of thirty-two chars"
const name = MachineName.make("v1abc")

const counting = Layer.sync(SecureRandom.SecureRandom, () => {
  let next = 0
  return SecureRandom.make((size) => Uint8Array.from({ length: size }, () => next++ % 256))
})

const keys = (secret: string, previous = "", random: Layer.Layer<SecureRandom.SecureRandom> = counting) =>
  Effect.provide(
    Keys,
    layerKeys.pipe(
      Layer.provide([layerEnvironment, random]),
      Layer.provide(
        ConfigProvider.layer(
          ConfigProvider.fromEnvRecord({
            DATABASE_URL: "postgres://x",
            CONTROL_PLANE_SECRET: "a".repeat(32),
            CONTROL_PLANE_INTERNAL_SECRET: secret,
            CONTROL_PLANE_INTERNAL_SECRET_PREVIOUS: previous,
            VALET_FLY_TOKEN: "t",
            VALET_FLY_APP: "a",
            VALET_FLY_IMAGE: "i"
          })
        )
      )
    )
  )

describe("Keys", () => {
  it.effect("seals and opens", () =>
    Effect.gen(function* () {
      const { seal, open, newDeployKey, currentKeyId } = yield* keys(newer)
      const deployKey = yield* newDeployKey
      assert.match(Redacted.value(deployKey), /^dk_[\w-]{43}$/)
      const sealed = yield* seal("uid-1", deployKey)
      assert.strictEqual(sealed.keyId, currentKeyId)
      assert.notInclude(sealed.sealed, Redacted.value(deployKey))
      assert.strictEqual(Redacted.value(yield* open("uid-1", sealed)), Redacted.value(deployKey))
    })
  )

  it.effect("is deterministic but for its randomness", () =>
    Effect.gen(function* () {
      const [first, second] = [yield* keys(newer), yield* keys(newer)]
      assert.deepStrictEqual(
        yield* first.seal("uid", Redacted.make("dk_x")),
        yield* second.seal("uid", Redacted.make("dk_x"))
      )
      const again = yield* first.seal("uid", Redacted.make("dk_x"))
      const once = yield* second.seal("uid", Redacted.make("dk_x"))
      assert.deepStrictEqual(again, once)
      assert.notStrictEqual(again.sealed, (yield* first.seal("uid", Redacted.make("dk_x"))).sealed)
    })
  )

  it.effect("a previous secret opens what it sealed and reaches its machines; new rows get the new one", () =>
    Effect.gen(function* () {
      const before = yield* keys(older)
      const sealed = yield* before.seal("uid", Redacted.make("dk_x"))
      const machine = yield* before.machineSecret(name, before.currentKeyId)

      const rotated = yield* keys(newer, older)
      assert.notStrictEqual(rotated.currentKeyId, before.currentKeyId)
      assert.strictEqual(Redacted.value(yield* rotated.open("uid", sealed)), "dk_x")
      const reached = yield* rotated.machineSecret(name, before.currentKeyId)
      assert.strictEqual(Redacted.value(reached), Redacted.value(machine))
      assert.strictEqual((yield* rotated.seal("uid", Redacted.make("dk_x"))).keyId, rotated.currentKeyId)

      const forgotten = yield* keys(newer)
      assert.strictEqual((yield* Effect.flip(forgotten.open("uid", sealed))).keyId, before.currentKeyId)
      assert.strictEqual((yield* Effect.flip(forgotten.machineSecret(name, before.currentKeyId)))._tag, "KeyError")
    })
  )

  it.effect("each machine has a secret of its own, told by neither name nor key id", () =>
    Effect.gen(function* () {
      const { machineSecret, currentKeyId } = yield* keys(newer)
      const mine = Redacted.value(yield* machineSecret(name, currentKeyId))
      const other = Redacted.value(yield* machineSecret(MachineName.make("v1abd"), currentKeyId))
      assert.match(mine, /^[\w-]{43}$/)
      assert.notStrictEqual(mine, other)
      assert.match(currentKeyId, /^[0-9a-f]{8}$/)
    })
  )

  it.effect("a sealed key can't be moved to another project", () =>
    Effect.gen(function* () {
      const { seal, open, currentKeyId } = yield* keys(newer)
      const sealed = yield* seal("uid-1", Redacted.make("dk_x"))
      const error = yield* Effect.flip(open("uid-2", sealed))
      assert.strictEqual(error.keyId, currentKeyId)
    })
  )

  it.effect("any changed, missing or added byte is refused", () =>
    Effect.gen(function* () {
      const { seal, open } = yield* keys(newer)
      const { sealed, keyId } = yield* seal("uid", Redacted.make("dk_x"))
      const bytes = [...Buffer.from(sealed, "base64url")]
      const changed = bytes.map((byte, index) => bytes.toSpliced(index, 1, byte ^ 1))
      const damaged = [...changed, bytes.toSpliced(-1, 1), [...bytes, 0], bytes.slice(0, 20), []]
      for (const each of damaged) {
        const attempt = open("uid", { keyId, sealed: Buffer.from(each).toString("base64url") })
        assert.strictEqual((yield* Effect.flip(attempt))._tag, "KeyError")
      }
    })
  )
})
