/**
 * Reads one object from end to end in constant memory and hashes it. A connection that breaks on the way is taken up
 * where it broke, by Range and If-Match: a large archive is not read from its beginning again.
 */
import { createHash } from "node:crypto"
import { Readable } from "node:stream"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { R2Error } from "./R2.ts"
import * as R2Failure from "./R2Failure.ts"
import type { S3 } from "./S3Sdk.ts"

const OPERATION = "checksum"
/** Until the answer's headers. */
const ANSWER_TIMEOUT_MS = 10_000
/** Without a single byte. */
const IDLE_TIMEOUT_MS = 20_000
/** The whole read: what is slower than this will not end within an operation's lease either. */
const SLOWEST_BYTES_PER_MS = 256
const WHOLE_READ_FLOOR_MS = 120_000
/** `onBytes` is called when this much came in, or this much time went by, since its last call. */
const REPORT_BYTES = 8 * 1024 * 1024
const REPORT_MS = 1_000
const RESUMES = 4

const resumes = Schedule.exponential("200 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: RESUMES }),
  Schedule.setInputType<R2Error>(),
  Schedule.while(({ input }) => input.retryable)
)

const unavailable = (detail: string) => new R2Error({ operation: OPERATION, reason: "Unavailable", detail })

/** `onBytes` gets the bytes read so far; it is called a last time at the end. */
export const readAndHash = Effect.fnUntraced(function* (
  s3: S3,
  object: { readonly Bucket: string; readonly Key: string },
  onBytes: (bytes: number) => Effect.Effect<void>
) {
  const begun = yield* Clock.currentTimeMillis
  let hash = createHash("sha256")
  let read = 0
  let first: { readonly total: number | undefined; readonly etag: string | undefined } | undefined
  let reported = { bytes: 0, at: begun }

  const take = Effect.fnUntraced(function* (chunk: Uint8Array) {
    hash.update(chunk)
    read += chunk.byteLength
    const now = yield* Clock.currentTimeMillis
    if (now - begun > WHOLE_READ_FLOOR_MS + (first?.total ?? 0) / SLOWEST_BYTES_PER_MS)
      return yield* new R2Error({ operation: OPERATION, reason: "Unavailable", detail: "too slow" })
    if (read - reported.bytes < REPORT_BYTES && now - reported.at < REPORT_MS) return
    reported = { bytes: read, at: now }
    yield* onBytes(read)
  })

  const get = (range: { readonly Range?: string; readonly IfMatch?: string }) =>
    Effect.tryPromise({
      try: (abortSignal) => s3.client.send(new s3.sdk.GetObjectCommand({ ...object, ...range }), { abortSignal }),
      catch: R2Failure.fromSdk(OPERATION)
    }).pipe(
      Effect.timeoutOrElse({ duration: ANSWER_TIMEOUT_MS, orElse: () => Effect.fail(unavailable("no answer in time")) })
    )

  const attempt = Effect.gen(function* () {
    if (first?.total !== undefined && read >= first.total) return
    const resuming = read > 0 && first?.etag !== undefined
    const answer = yield* get(resuming ? { Range: `bytes=${read}-`, IfMatch: first?.etag ?? "" } : {})
    const body: unknown = answer.Body
    if (!(body instanceof Readable)) return yield* unavailable("answer without a body")
    if (!(resuming && answer.ContentRange?.startsWith(`bytes ${read}-`) === true)) {
      hash = createHash("sha256")
      read = 0
      first = { total: answer.ContentLength, etag: answer.ETag }
    }
    yield* NodeStream.fromReadable({ evaluate: () => body, onError: R2Failure.fromSdk(OPERATION) }).pipe(
      Stream.timeoutOrElse({ duration: IDLE_TIMEOUT_MS, orElse: () => Stream.fail(unavailable("stalled")) }),
      Stream.runForEach(take)
    )
    if (read < (first?.total ?? 0)) return yield* unavailable("ended early")
  })

  yield* attempt.pipe(Effect.retry(resumes))
  yield* onBytes(read)
  return { size: read, sha256: hash.digest("hex") }
})
