/**
 * The AWS SDK's S3 client, set up for Cloudflare R2. Loading it takes 100 to 200 ms and 20 to 35 MB, so it is not part
 * of the start: the first call loads it, or a quiet moment soon after, so that hardly any wake has to wait for it.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

export interface S3Options {
  readonly endpoint: string
  readonly accessKeyId: string
  readonly secretAccessKey: Redacted.Redacted
  readonly bucket: string
}

/** Sockets to the bucket: reading archives back is bounded by the sweep's concurrency, the rest are single requests. */
const MAX_SOCKETS = 32
const CONNECT_TIMEOUT_MS = 3_000
/** When the server listens and its first requests are answered. */
const PRELOAD_AFTER = "5 seconds"

const load = async (options: S3Options) => {
  const [sdk, presigner] = await Promise.all([import("@aws-sdk/client-s3"), import("@aws-sdk/s3-request-presigner")])
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS }
  const client = new sdk.S3Client({
    region: "auto",
    endpoint: options.endpoint,
    forcePathStyle: true,
    credentials: {
      accessKeyId: options.accessKeyId,
      secretAccessKey: Redacted.value(options.secretAccessKey)
    },
    // R2 refuses some of the checksum trailers that the SDK adds by default.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // Retries are ours: bounded by one schedule, jittered and timed by the runtime's services.
    maxAttempts: 1,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, httpAgent: agent, httpsAgent: agent }
  })
  return { sdk, client, presign: presigner.getSignedUrl }
}

export type S3 = Awaited<ReturnType<typeof load>>

/** The client is made once, when it is first asked for, and closed with the scope. */
export const make = Effect.fnUntraced(function* (options: S3Options) {
  let made: Promise<S3> | undefined
  yield* Effect.addFinalizer(() => Effect.promise(async () => (await made)?.client.destroy()))
  const s3: Effect.Effect<S3> = Effect.promise(() => (made ??= load(options)))
  yield* Effect.sleep(PRELOAD_AFTER).pipe(
    Effect.andThen(s3),
    Effect.tapCause((cause) => Effect.logError("the S3 client can't be loaded", cause)),
    Effect.forkScoped
  )
  return { s3 }
})
