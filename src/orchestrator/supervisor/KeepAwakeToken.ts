/** How a server proves that it is this project's process, and not another's. */
import { createHash, timingSafeEqual } from "node:crypto"
import * as Effect from "effect/Effect"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type { Entry } from "./Entry.ts"

const bytes = 32

export const make = (random: SecureRandom.SecureRandom["Service"]): Effect.Effect<string> =>
  Effect.map(random.randomBytes(bytes), (it) => Buffer.from(it).toString("base64url"))

export const digest = (token: string): Uint8Array => createHash("sha256").update(token).digest()

/** All are compared, each in the time that any other takes. */
export const holderOf = (entries: Iterable<Entry>, token: string): Entry | null => {
  const given = digest(token)
  let holder: Entry | null = null
  for (const entry of entries) if (entry.token !== null && timingSafeEqual(entry.token, given)) holder = entry
  return holder
}
