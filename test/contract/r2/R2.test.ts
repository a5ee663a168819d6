import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import S3rver from "s3rver"
import * as R2Live from "../../../src/services/r2/R2Live.ts"
import * as LocalS3 from "../../../src/local/s3/LocalS3.ts"
import * as MemoryR2 from "../../../src/testing/MemoryR2.ts"
import * as senders from "./senders.ts"
import { suite } from "./suite.ts"

const folder = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped()).pipe(
  Effect.provide(NodeFileSystem.layer)
)
const bucket = "archives"

suite("in memory", senders.memory.pipe(Layer.provideMerge(MemoryR2.layer)), {
  overwrites: null,
  trustsUrls: null,
  resolvesDots: null
})

const local = Layer.unwrap(
  Effect.map(folder, (dataDir) =>
    LocalS3.layer({ dataDir, port: 0, bucket, accessKeyId: "local", secretAccessKey: Redacted.make("secret") })
  )
)

suite(
  "live, over the local S3 server",
  Layer.merge(
    senders.http,
    Layer.unwrap(Effect.map(LocalS3.LocalS3, (s3) => R2Live.layerFrom(s3))).pipe(Layer.provide(local))
  ),
  { overwrites: null, trustsUrls: null, resolvesDots: null }
)

const s3rver = Layer.unwrap(
  Effect.gen(function* () {
    const directory = yield* folder
    const server = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const made = new S3rver({
          address: "127.0.0.1",
          port: 0,
          silent: true,
          directory,
          configureBuckets: [{ name: bucket, configs: [] }]
        })
        const { port } = await made.run()
        return { made, port }
      }),
      ({ made }) => Effect.promise(() => made.close())
    )
    return R2Live.layerFrom({
      endpoint: `http://127.0.0.1:${server.port}`,
      bucket,
      accessKeyId: "S3RVER",
      secretAccessKey: Redacted.make("S3RVER")
    })
  })
)

// An independent peer. It knows neither If-None-Match nor the signatures of presigned URLs, and keys are paths to it.
suite("live, over s3rver", Layer.merge(senders.http, s3rver), {
  overwrites: "it ignores If-None-Match",
  trustsUrls: "it does not check the signatures of presigned URLs",
  resolvesDots: "it makes paths of keys"
})
