/**
 * The public name of a project: one DNS label, because it is also the project's subdomain.
 *
 * Generated ids are `adjective-noun-suffix` with 47 bits of randomness, so that ids can't be walked. An id is never
 * used twice: the row of a deleted project stays as a tombstone.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { adjectives, nouns } from "./words.ts"

/** RFC 1035 label, lower case. */
const pattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

export const ProjectId = Schema.String.check(
  Schema.isPattern(pattern, { message: "must be a DNS label: a-z, 0-9 and inner hyphens, 1 to 63 characters" })
).pipe(Schema.brand("ProjectId"))
export type ProjectId = typeof ProjectId.Type

/** Names that would shadow a host or path of the plane itself, or that browsers and mail treat specially. */
const reserved = new Set(
  (
    "admin api app apps assets auth autoconfig autodiscover billing blog cdn console control dashboard dev docs edge " +
    "favicon ftp health help imap internal localhost login mail metrics ns ns1 ns2 pool pop projects robots root " +
    "router smtp static status support valet webmail wpad www"
  ).split(" ")
)

export const isReserved = (id: string): boolean => reserved.has(id) || id.startsWith("xn--")

/** `undefined` where the text is not a project id or is a reserved name. */
export const parse = (text: string): ProjectId | undefined =>
  pattern.test(text) && !isReserved(text) ? ProjectId.make(text) : undefined

/** Crockford base 32 in lower case: no i, l, o, u, so that an id survives being read aloud. */
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

/** 6 bits of adjective, 6 bits of noun, 7 × 5 bits of suffix. */
export const generate: Effect.Effect<ProjectId, never, SecureRandom.SecureRandom> = Effect.gen(function* () {
  const random = yield* SecureRandom.SecureRandom
  const bytes = yield* random.randomBytes(9)
  const pick = (index: number, bits: number) => (bytes[index] ?? 0) & (2 ** bits - 1)
  const suffix = Array.from({ length: 7 }, (_, i) => alphabet[pick(i + 2, 5)]).join("")
  return ProjectId.make(`${adjectives[pick(0, 6)]}-${nouns[pick(1, 6)]}-${suffix}`)
})
