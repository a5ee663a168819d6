/** `Keys` from the configured internal secrets, on Node's synchronous crypto: each call takes microseconds. */
import { createCipheriv, createDecipheriv, createHash, hkdfSync } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { PlaneConfig } from "../config/PlaneConfig.ts"
import type { SealedKey } from "../domain/Project.ts"
import { KeyError, Keys } from "./Keys.ts"

/** NIST SP 800-38D: 96-bit nonces; random ones are safe for 2^32 seals under one key. */
const nonceBytes = 12
const tagBytes = 16
const keyBytes = 32

/** The zero byte keeps a label from running into what follows it. */
const derive = (secret: Redacted.Redacted, label: string, context = ""): Buffer =>
  Buffer.from(hkdfSync("sha256", Redacted.value(secret), "", `valet ${label}\0${context}`, keyBytes))

const keyIdOf = (secret: Redacted.Redacted): string =>
  createHash("sha256").update(derive(secret, "id")).digest("hex").slice(0, 8)

const encrypt = (key: Buffer, nonce: Uint8Array, associated: string, text: string): string => {
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes })
  cipher.setAAD(Buffer.from(associated))
  const sealed = [nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]
  return Buffer.concat(sealed).toString("base64url")
}

/** Throws for anything but what `encrypt` made with the same key and associated data. */
const decrypt = (key: Buffer, associated: string, sealed: string): string => {
  const bytes = Buffer.from(sealed, "base64url")
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
  decipher.setAAD(Buffer.from(associated))
  decipher.setAuthTag(bytes.subarray(-tagBytes))
  const text = decipher.update(bytes.subarray(nonceBytes, -tagBytes))
  return Buffer.concat([text, decipher.final()]).toString("utf8")
}

export const layerKeys: Layer.Layer<Keys, never, PlaneConfig | SecureRandom.SecureRandom> = Layer.effect(
  Keys,
  Effect.gen(function* () {
    const { internalSecret, internalSecretsPrevious } = yield* PlaneConfig
    const random = yield* SecureRandom.SecureRandom
    const secrets = new Map([...internalSecretsPrevious, internalSecret].map((secret) => [keyIdOf(secret), secret]))
    const currentKeyId = keyIdOf(internalSecret)
    const sealingKey = derive(internalSecret, "deploy-key")

    const secretOf = (keyId: string) =>
      Effect.mapError(Effect.fromNullishOr(secrets.get(keyId)), () => new KeyError({ keyId }))

    return Keys.of({
      currentKeyId,
      machineSecret: (name, keyId) =>
        Effect.map(secretOf(keyId), (secret) => Redacted.make(derive(secret, "machine", name).toString("base64url"))),
      newDeployKey: Effect.map(random.randomBytes(keyBytes), (bytes) =>
        Redacted.make(`dk_${Buffer.from(bytes).toString("base64url")}`)
      ),
      seal: (projectUid, deployKey) =>
        Effect.map(random.randomBytes(nonceBytes), (nonce): SealedKey => ({
          keyId: currentKeyId,
          sealed: encrypt(sealingKey, nonce, projectUid, Redacted.value(deployKey))
        })),
      open: (projectUid, { sealed, keyId }) =>
        Effect.flatMap(secretOf(keyId), (secret) =>
          Effect.try({
            try: () => Redacted.make(decrypt(derive(secret, "deploy-key"), projectUid, sealed)),
            catch: () => new KeyError({ keyId })
          })
        )
    })
  })
)
