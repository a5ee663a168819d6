/** The admin token that is made once and kept in a file, where the configuration gives none. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { readText, replace, UnsafeFile } from "./SafeFile.ts"

const limitBytes = 4096

/** Printable ASCII, as a header can carry it; the shortest that nobody guesses. */
const usable = /^[\x21-\x7e]{16,}$/
const expected = "16 characters or more, no blanks"

/** The configuration's own; an empty one would open everything to whoever sends none. */
export const given = Effect.fnUntraced(function* (token: Redacted.Redacted) {
  if (usable.test(Redacted.value(token))) return token
  return yield* new UnsafeFile({ detail: `--admin-token, or VALET_ADMIN_TOKEN, is no token: it takes ${expected}` })
})

export const keep = Effect.fnUntraced(function* (path: string) {
  const kept = yield* readText(path, limitBytes)
  if (kept !== null) {
    const token = kept.trim()
    if (usable.test(token)) return Redacted.make(token)
    return yield* new UnsafeFile({
      detail: `${path} holds no token (${expected}): remove it, and a new one is made`
    })
  }
  const random = yield* SecureRandom.SecureRandom
  const token = Buffer.from(yield* random.randomBytes(32)).toString("base64url")
  yield* replace(path, `${token}\n`, 0o600)
  return Redacted.make(token)
})
