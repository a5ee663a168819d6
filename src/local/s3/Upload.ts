/** One PUT's body: its length, its framing and every checksum that the sender gave along. */
import { createHash, type Hash } from "node:crypto"
import { crc32 } from "node:zlib"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as AwsChunked from "./AwsChunked.ts"
import { failure, type S3Failure } from "./S3Failure.ts"
import type { Verified } from "./Signature.ts"

type Headers = Readonly<Record<string, string | undefined>>

/** S3's limit of one PUT. */
const LARGEST_BYTES = 5 * 1024 ** 3
const SHA256_HEX = /^[0-9a-f]{64}$/

interface Sum {
  readonly update: (bytes: Uint8Array) => unknown
  readonly digest: () => string
}

const ofHash = (algorithm: "md5" | "sha1" | "sha256", encoding: "base64" | "hex"): Sum => {
  const hash: Hash = createHash(algorithm)
  return { update: (bytes) => hash.update(bytes), digest: () => hash.digest(encoding) }
}

const ofCrc32 = (): Sum => {
  let value = 0
  return {
    update: (bytes) => {
      value = crc32(bytes, value)
    },
    digest: () => {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32BE(value >>> 0)
      return bytes.toString("base64")
    }
  }
}

/** The algorithms that can be verified here; a checksum of another one is stored unverified. */
const algorithms: Readonly<Record<string, () => Sum>> = {
  "x-amz-checksum-crc32": ofCrc32,
  "x-amz-checksum-sha1": () => ofHash("sha1", "base64"),
  "x-amz-checksum-sha256": () => ofHash("sha256", "base64"),
  "content-md5": () => ofHash("md5", "base64")
}

const lengthOf = (headers: Headers, chunked: boolean): number | null => {
  const text = chunked ? headers["x-amz-decoded-content-length"] : headers["content-length"]
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null
}

export interface Upload<E> {
  readonly body: Stream.Stream<Uint8Array, E | S3Failure>
  readonly size: number
  readonly sums: ReadonlyArray<Pick<Sum, "update">>
  readonly check: Effect.Effect<void, S3Failure>
}

export const read = <E>(
  raw: Stream.Stream<Uint8Array, E>,
  headers: Headers,
  verified: Verified
): Upload<E> | S3Failure => {
  const chunked = verified.payload.startsWith("STREAMING-")
  const size = lengthOf(headers, chunked)
  if (size === null) return failure("MissingContentLength", "You must provide the Content-Length HTTP header.")
  if (size > LARGEST_BYTES) return failure("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
  const chunks = chunked ? AwsChunked.decoder(verified) : null
  const announced = (headers["x-amz-trailer"] ?? "").toLowerCase()
  const sums = Object.entries(algorithms)
    .filter(([name]) => headers[name] !== undefined || announced.split(",").some((trailer) => trailer.trim() === name))
    .map(([name, make]) => ({ name, sum: make() }))
  const payload = SHA256_HEX.test(verified.payload) ? ofHash("sha256", "hex") : null
  return {
    body: chunks === null ? raw : chunks.decode(raw),
    size,
    sums: [...sums.map(({ sum }) => sum), ...(payload === null ? [] : [payload])],
    check: Effect.suspend(() => {
      if (payload !== null && payload.digest() !== verified.payload)
        return Effect.fail(failure("XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 does not match."))
      const wrong = sums.find(({ name, sum }) => sum.digest() !== (headers[name] ?? chunks?.trailers.get(name)))
      return wrong === undefined ? Effect.void : Effect.fail(failure("BadDigest", `The ${wrong.name} does not match.`))
    })
  }
}
