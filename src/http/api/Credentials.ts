/** Comparing secrets so that the time it takes tells nothing about them: digests of equal length, every one compared. */
import { createHash, timingSafeEqual } from "node:crypto"
import * as Redacted from "effect/Redacted"
import type { PlaneConfigValue } from "../../config/PlaneConfig.ts"

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

export const sameSecret = (presented: Redacted.Redacted, expected: Redacted.Redacted): boolean =>
  timingSafeEqual(digest(Redacted.value(presented)), digest(Redacted.value(expected)))

/** The secret in force, and its predecessor while rotating. */
export const operatorCheck = (
  config: Pick<PlaneConfigValue, "secret" | "secretPrevious">
): ((presented: Redacted.Redacted) => boolean) => {
  const current = digest(Redacted.value(config.secret))
  // Without a predecessor the current one stands in, so that both cases take the same time.
  const previous = config.secretPrevious === null ? current : digest(Redacted.value(config.secretPrevious))
  return (presented) => {
    const given = digest(Redacted.value(presented))
    const isCurrent = timingSafeEqual(given, current)
    const isPrevious = timingSafeEqual(given, previous)
    return isCurrent || isPrevious
  }
}

/** The credential of an Authorization header; undefined where there is no header, empty where it is no bearer. */
export const bearerOf = (authorization: string | undefined): Redacted.Redacted | undefined =>
  authorization === undefined ? undefined : Redacted.make(/^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? "")
