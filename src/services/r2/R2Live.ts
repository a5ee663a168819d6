/** `R2` over the AWS SDK, for Cloudflare R2 and every other S3-compatible store. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import * as ObjectReader from "./ObjectReader.ts"
import { R2, R2Error, type PresignedUrl } from "./R2.ts"
import * as R2Failure from "./R2Failure.ts"
import * as S3Sdk from "./S3Sdk.ts"

/** One attempt of a call without a body worth mentioning, and the same with all its retries. */
const ATTEMPT_TIMEOUT_MS = 5_000
const CALL_TIMEOUT_MS = 15_000
const RETRIES = 3
/** Signature version 4 does not allow more than a week. */
const LONGEST_EXPIRY_SECONDS = 7 * 24 * 60 * 60
/** A listing longer than this is not ours: 1,000 keys a page. */
const LIST_PAGES = 1_000
const OVERWRITE_REFUSED = { "if-none-match": "*" } as const

const retries = Schedule.exponential("150 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: RETRIES }),
  Schedule.setInputType<R2Error>(),
  Schedule.while(({ input }) => input.retryable)
)

const tooLate = (operation: string) => () =>
  Effect.fail(new R2Error({ operation, reason: "Unavailable", detail: "no answer in time" }))

const make = Effect.fnUntraced(function* (options: S3Sdk.S3Options) {
  const { s3: sdk } = yield* S3Sdk.make(options)
  const Bucket = options.bucket

  /** One idempotent request with its limits and retries. */
  const call = <A>(operation: string, send: (s3: S3Sdk.S3, abortSignal: AbortSignal) => Promise<A>) =>
    sdk.pipe(
      Effect.flatMap((s3) =>
        Effect.tryPromise({ try: (signal) => send(s3, signal), catch: R2Failure.fromSdk(operation) }).pipe(
          Effect.timeoutOrElse({ duration: ATTEMPT_TIMEOUT_MS, orElse: tooLate(operation) }),
          Effect.retry(retries),
          Effect.timeoutOrElse({ duration: CALL_TIMEOUT_MS, orElse: tooLate(operation) })
        )
      ),
      Effect.withSpan(`R2.${operation}`)
    )

  const presign = Effect.fnUntraced(function* (
    operation: "presignPut" | "presignGet",
    Key: string,
    expiresInSeconds: number
  ) {
    const s3 = yield* sdk
    const expiresIn = Math.max(1, Math.min(LONGEST_EXPIRY_SECONDS, Math.floor(expiresInSeconds)))
    const now = yield* DateTime.now
    const url = yield* Effect.tryPromise({
      try: () =>
        operation === "presignPut"
          ? s3.presign(s3.client, new s3.sdk.PutObjectCommand({ Bucket, Key, IfNoneMatch: "*" }), {
              expiresIn,
              signingDate: DateTime.toDate(now)
            })
          : s3.presign(s3.client, new s3.sdk.GetObjectCommand({ Bucket, Key }), {
              expiresIn,
              signingDate: DateTime.toDate(now)
            }),
      catch: R2Failure.fromSdk(operation)
    })
    const presigned: PresignedUrl = {
      url,
      headers: operation === "presignPut" ? OVERWRITE_REFUSED : {},
      // The signature's date has whole seconds.
      expiresAt: Math.floor(DateTime.toEpochMillis(now) / 1000) * 1000 + expiresIn * 1000
    }
    return presigned
  })

  const head = (Key: string) =>
    call("head", (s3, abortSignal) =>
      s3.client.send(new s3.sdk.HeadObjectCommand({ Bucket, Key }), { abortSignal })
    ).pipe(
      Effect.map((answer) => Option.some({ size: answer.ContentLength ?? 0 })),
      Effect.catchIf(
        (error) => error.reason === "Missing",
        () => Effect.succeedNone
      )
    )

  const remove = (Key: string) =>
    call("delete", (s3, abortSignal) =>
      s3.client.send(new s3.sdk.DeleteObjectCommand({ Bucket, Key }), { abortSignal })
    ).pipe(
      Effect.asVoid,
      Effect.catchIf(
        (error) => error.reason === "Missing",
        () => Effect.void
      )
    )

  const list = Effect.fn("R2.list")(function* (Prefix: string) {
    const found: Array<{ readonly key: string; readonly size: number }> = []
    let ContinuationToken: string | undefined
    for (let page = 0; page < LIST_PAGES; page++) {
      const next = ContinuationToken === undefined ? {} : { ContinuationToken }
      const answer = yield* call("list", (s3, abortSignal) =>
        s3.client.send(new s3.sdk.ListObjectsV2Command({ Bucket, Prefix, ...next }), { abortSignal })
      )
      for (const { Key, Size } of answer.Contents ?? [])
        if (Key !== undefined) found.push({ key: Key, size: Size ?? 0 })
      ContinuationToken = answer.NextContinuationToken
      if (ContinuationToken === undefined) return found
    }
    return yield* new R2Error({ operation: "list", reason: "Unavailable", detail: "the listing does not end" })
  })

  return R2.of({
    presignPut: (key, seconds) => presign("presignPut", key, seconds),
    presignGet: (key, seconds) => presign("presignGet", key, seconds),
    head,
    checksum: Effect.fn("R2.checksum")(function* (key, onBytes = () => Effect.void) {
      return yield* ObjectReader.readAndHash(yield* sdk, { Bucket, Key: key }, onBytes)
    }),
    delete: remove,
    list
  })
})

export const layerFrom = (options: S3Sdk.S3Options): Layer.Layer<R2> => Layer.effect(R2, make(options))

const off = (operation: string) =>
  Effect.fail(new R2Error({ operation, reason: "Unavailable", detail: "archival is off" }))

/** For a plane without a bucket: it runs, and nothing is archived. */
export const layerDisabled: Layer.Layer<R2> = Layer.succeed(
  R2,
  R2.of({
    presignPut: () => off("presignPut"),
    presignGet: () => off("presignGet"),
    head: () => off("head"),
    checksum: () => off("checksum"),
    delete: () => off("delete"),
    list: () => off("list")
  })
)

/** From the plane's configuration; disabled where it names no bucket. */
export const layer: Layer.Layer<R2, never, PlaneConfig> = Layer.unwrap(
  Effect.map(PlaneConfig, ({ r2 }) => (r2 === null ? layerDisabled : layerFrom(r2)))
)
