/**
 * A small S3 server for one laptop: one bucket's worth of the protocol, with its signatures, expiry and conditional
 * writes, on loopback and on disk.
 */
import { createServer } from "node:http"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { ServeError } from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import type * as Redacted from "effect/Redacted"
import * as ObjectFolder from "./ObjectFolder.ts"
import * as S3Fault from "./S3Fault.ts"
import * as S3Handlers from "./S3Handlers.ts"

const HOST = "127.0.0.1"
/** Requests in flight when it stops: an archive's upload is repeated anyway. */
const GRACE = "1 second"

export interface LocalS3Options {
  readonly dataDir: string
  /** 0: a free one. */
  readonly port: number
  /** Created where it is missing. */
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: Redacted.Redacted
}

export class LocalS3 extends Context.Service<
  LocalS3,
  {
    readonly endpoint: string
    readonly bucket: string
    readonly accessKeyId: string
    readonly secretAccessKey: Redacted.Redacted
    /** Replaces the faults; `{}` for none. */
    setFaults(faults: S3Fault.Faults): Effect.Effect<void>
  }
>()("valet/LocalS3") {}

const make = Effect.fnUntraced(function* (options: LocalS3Options) {
  const folder = yield* ObjectFolder.open(options.dataDir)
  yield* folder.createBucket(options.bucket)
  let faults = S3Fault.none
  const server = yield* NodeHttpServer.make(createServer, {
    port: options.port,
    host: HOST,
    gracefulShutdownTimeout: GRACE
  })
  yield* server.serve(S3Handlers.make(folder, options, () => faults))
  const { address } = server
  const port = address._tag === "UnixPathAddress" ? options.port : address.port
  return LocalS3.of({
    endpoint: `http://${HOST}:${port}`,
    bucket: options.bucket,
    accessKeyId: options.accessKeyId,
    secretAccessKey: options.secretAccessKey,
    setFaults: (next) => Effect.sync(() => void (faults = next))
  })
})

export const layer = (options: LocalS3Options): Layer.Layer<LocalS3, ServeError | PlatformError> =>
  Layer.effect(LocalS3, make(options)).pipe(Layer.provide(NodeFileSystem.layer))
