/** Random names that the programs give: all from the secure generator, which tests seed. */
import * as Effect from "effect/Effect"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { MachineName } from "../domain/Machine.ts"

const letters = "0123456789abcdefghjkmnpqrstvwxyz"

/** `length` characters of Crockford's base 32, 5 bits each. */
export const token = (length: number): Effect.Effect<string, never, SecureRandom.SecureRandom> =>
  Effect.gen(function* () {
    const bytes = yield* (yield* SecureRandom.SecureRandom).randomBytes(length)
    return Array.from(bytes, (byte) => letters[byte & 31]).join("")
  })

/** 80 bits: two holders never share one. */
export const operationId = token(16)
/** A project's internal uid, 80 bits. */
export const projectUid = token(16)
/** Of one upload attempt, 80 bits: an object can't be guessed or overwritten. */
export const archiveSuffix = token(16)
/** Of the plane, in every machine's name: two planes in one Fly app don't reap each other. */
export const planeId = token(6)

/** `v` + plane id (6) + 16 random characters: 23 of the 30 that Fly allows for a volume. */
export const machineName = (plane: string): Effect.Effect<MachineName, never, SecureRandom.SecureRandom> =>
  Effect.map(token(16), (random) => MachineName.make(`${machinePrefix(plane)}${random}`))

export const machinePrefix = (plane: string): string => `v${plane}`
