/**
 * `Content-Encoding: aws-chunked` taken off a stream: `size[;chunk-signature=…]\r\n bytes \r\n … 0 … trailers`. Chunk
 * signatures are verified where the payload is a signed one; trailers are handed over at the end.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 */
import { createHash, timingSafeEqual, type Hash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { failure, type S3Failure } from "./S3Failure.ts"
import { hmac, sha256Hex, type Verified } from "./Signature.ts"

/** A line of the framing; chunk heads and trailers are short. */
const LONGEST_LINE = 4096
const EMPTY_SHA256 = sha256Hex("")

type State = "head" | "data" | "data-end" | "trailer" | "done"

const broken = (what: string) => failure("IncompleteBody", `The chunked upload is not valid: ${what}.`)

/** One upload's decoder; `take` returns the decoded bytes of a piece, or what is wrong with it. */
export const decoder = (verified: Verified) => {
  const signed = verified.payload.startsWith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
  const trailers = new Map<string, string>()
  let state: State = "head"
  let line = Buffer.alloc(0)
  let left = 0
  let last = false
  let claimed = ""
  let previous = verified.signature
  let hash: Hash = createHash("sha256")

  const chunkSignatureFits = (): boolean => {
    if (!signed) return true
    const parts = [
      "AWS4-HMAC-SHA256-PAYLOAD",
      verified.date,
      verified.scope,
      previous,
      EMPTY_SHA256,
      hash.digest("hex")
    ]
    previous = hmac(verified.signingKey, parts.join("\n")).toString("hex")
    hash = createHash("sha256")
    const [a, b] = [Buffer.from(previous), Buffer.from(claimed)]
    return a.length === b.length && timingSafeEqual(a, b)
  }

  /** Null: fine. */
  const endOfLine = (text: string): S3Failure | null => {
    if (state === "data-end") {
      state = "head"
      return text === "" ? null : broken("a chunk is longer than it says")
    }
    if (state === "trailer") {
      const colon = text.indexOf(":")
      if (text === "") state = "done"
      else trailers.set(text.slice(0, colon).trim().toLowerCase(), text.slice(colon + 1).trim())
      return null
    }
    const match = /^([0-9a-f]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec(text)
    if (match === null) return broken("a chunk without a size")
    left = Number.parseInt(match[1] ?? "", 16)
    claimed = match[2] ?? ""
    last = left === 0
    state = last ? "trailer" : "data"
    return last && !chunkSignatureFits()
      ? failure("SignatureDoesNotMatch", "A chunk's signature does not match.")
      : null
  }

  const take = (piece: Uint8Array): ReadonlyArray<Uint8Array> | S3Failure => {
    const out: Array<Uint8Array> = []
    let rest = piece
    while (rest.length > 0 && state !== "done") {
      if (state === "data") {
        const bytes = rest.subarray(0, left)
        rest = rest.subarray(bytes.length)
        left -= bytes.length
        if (signed) hash.update(bytes)
        out.push(bytes)
        if (left > 0) continue
        if (!chunkSignatureFits()) return failure("SignatureDoesNotMatch", "A chunk's signature does not match.")
        state = "data-end"
        continue
      }
      const end = rest.indexOf(10)
      line = Buffer.concat([line, end === -1 ? rest : rest.subarray(0, end)])
      if (line.length > LONGEST_LINE) return broken("a line is too long")
      if (end === -1) return out
      rest = rest.subarray(end + 1)
      const problem = endOfLine(line.toString("latin1").replace(/\r$/, ""))
      line = Buffer.alloc(0)
      if (problem !== null) return problem
    }
    return out
  }

  return {
    trailers,
    decode: <E>(body: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E | S3Failure> =>
      body.pipe(
        Stream.mapEffect((piece) => {
          const taken = take(piece)
          return "_tag" in taken ? Effect.fail(taken) : Effect.succeed(taken)
        }),
        Stream.flatMap(Stream.fromIterable),
        Stream.concat(
          Stream.suspend(() => (last && state !== "data" ? Stream.empty : Stream.fail(broken("it has no end"))))
        )
      )
  }
}
