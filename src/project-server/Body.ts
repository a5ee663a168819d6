/** Request bodies with a bound, and bearers. */
import { createHash, timingSafeEqual } from "node:crypto"
import type { IncomingMessage } from "node:http"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

export class BodyError extends Schema.TaggedError<BodyError>()("BodyError", {
  reason: Schema.Literals(["TooLarge", "NotText", "BrokenOff"])
}) {
  override get message() {
    return this.reason === "TooLarge" ? "the body is too large" : "the body is not UTF-8 or broke off"
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/** Reads to the end, or fails at once beyond `most` bytes. */
export const text = (request: IncomingMessage, most: number) =>
  Effect.callback<string, BodyError>((resume) => {
    const fail = (reason: BodyError["reason"]) => resume(Effect.fail(new BodyError({ reason })))
    if (Number(request.headers["content-length"] ?? 0) > most) return fail("TooLarge")
    const chunks: Array<Buffer> = []
    let size = 0
    request.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size <= most) chunks.push(chunk)
      else {
        request.removeAllListeners("data").resume()
        fail("TooLarge")
      }
    })
    request.once("end", () => {
      try {
        resume(Effect.succeed(decoder.decode(Buffer.concat(chunks))))
      } catch {
        fail("NotText")
      }
    })
    request.once("error", () => fail("BrokenOff"))
    request.once("close", () => fail("BrokenOff"))
  })

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/** In constant time, whatever the lengths. */
export const hasBearer = (request: IncomingMessage, expected: Redacted.Redacted): boolean => {
  const given = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? "")?.[1]
  return timingSafeEqual(digest(given ?? ""), digest(Redacted.value(expected))) && given !== undefined
}
