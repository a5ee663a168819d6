import { createHash, randomBytes } from "node:crypto"
import { createServer, request, type Server } from "node:http"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as LocalS3 from "../../../src/local/s3/LocalS3.ts"
import { R2, type R2Error } from "../../../src/services/r2/R2.ts"
import * as R2Failure from "../../../src/services/r2/R2Failure.ts"
import * as R2Live from "../../../src/services/r2/R2Live.ts"

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")
/** Bytes of buffers that something still holds. */
const held = () => {
  // Buffers are swept beside the program; a second collection first waits for that of the one before.
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

const MIB = 1024 * 1024
const bucket = "archives"
const SECRET = "very-secret"

const local = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  return LocalS3.layer({
    dataDir: yield* fs.makeTempDirectoryScoped(),
    port: 0,
    bucket,
    accessKeyId: "local",
    secretAccessKey: Redacted.make(SECRET)
  })
}).pipe(Effect.provide(NodeFileSystem.layer))

const withLocal = <A, E>(use: (s3: LocalS3.LocalS3["Service"]) => Effect.Effect<A, E, R2>) =>
  Effect.scoped(
    Effect.flatMap(local, (layer) =>
      Effect.flatMap(LocalS3.LocalS3, (s3) => Effect.provide(use(s3), R2Live.layerFrom(s3))).pipe(Effect.provide(layer))
    )
  )

/** Uploads `size` bytes in pieces of a mebibyte, and returns their SHA-256. */
const upload = Effect.fnUntraced(function* (key: string, size: number) {
  const { url, headers } = yield* (yield* R2).presignPut(key, 600)
  const piece = randomBytes(MIB)
  const hash = createHash("sha256")
  return yield* Effect.callback<string>((resume) => {
    const sent = request(url, { method: "PUT", headers: { ...headers, "content-length": size } }, (answer) => {
      answer.resume()
      assert.strictEqual(answer.statusCode, 200)
      answer.on("end", () => resume(Effect.succeed(hash.digest("hex"))))
    })
    sent.on("error", (error) => resume(Effect.die(error)))
    let left = size
    const more = () => {
      while (left > 0) {
        const bytes = piece.subarray(0, Math.min(left, MIB))
        left -= bytes.length
        hash.update(bytes)
        if (!sent.write(bytes)) return void sent.once("drain", more)
      }
      sent.end()
    }
    more()
  })
})

const listening = (handler: Parameters<typeof createServer>[1]) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Server; readonly endpoint: string }>((resume) => {
      const server = createServer(handler ?? (() => {}))
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ server, endpoint: `http://127.0.0.1:${port}` }))
      })
    }),
    ({ server }) =>
      Effect.callback<void>((resume) => {
        server.closeAllConnections()
        server.close(() => resume(Effect.void))
      })
  )

const optionsOf = (endpoint: string) => ({
  endpoint,
  bucket,
  accessKeyId: "local",
  secretAccessKey: Redacted.make(SECRET)
})

const quiet = (error: R2Error, endpoint: string) => {
  assert.notInclude(error.message, SECRET)
  assert.notInclude(error.message, endpoint)
}

describe("R2 live", () => {
  it.live("64 MiB are read back in constant memory, and progress is told now and then", () =>
    withLocal(() =>
      Effect.gen(function* () {
        const size = 64 * MIB
        const sha256 = yield* upload("big.db", size)
        const told: Array<number> = []
        let peak = 0
        const before = held()
        const read = yield* (yield* R2).checksum("big.db", (bytes) =>
          Effect.sync(() => {
            told.push(bytes)
            peak = Math.max(peak, held() - before)
          })
        )
        assert.deepStrictEqual(read, { size, sha256 })
        assert.isBelow(peak, 8 * MIB)
        assert.isAtLeast(told.length, 8)
        assert.isAtMost(told.length, 64)
        assert.isTrue(told.every((bytes, n) => n === 0 || bytes >= (told[n - 1] ?? 0)))
        assert.strictEqual(told.at(-1), size)
      })
    )
  )

  it.live("a connection that breaks while reading is taken up where it broke", () =>
    withLocal((s3) =>
      Effect.gen(function* () {
        const size = 40 * MIB
        const sha256 = yield* upload("broken.db", size)
        yield* s3.setFaults({ cut: 1 })
        const told: Array<number> = []
        const read = yield* (yield* R2).checksum("broken.db", (bytes) =>
          Effect.andThen(
            s3.setFaults({}),
            Effect.sync(() => void told.push(bytes))
          )
        )
        assert.deepStrictEqual(read, { size, sha256 })
        // Read from the beginning again, it would have gone back.
        assert.isTrue(told.every((bytes, n) => n === 0 || bytes >= (told[n - 1] ?? 0)))
      })
    )
  )

  it.live("one that always breaks ends as Unavailable", () =>
    withLocal((s3) =>
      Effect.gen(function* () {
        yield* upload("always.db", 3 * MIB)
        yield* s3.setFaults({ cut: 1 })
        const error = yield* Effect.flip((yield* R2).checksum("always.db"))
        assert.strictEqual(error.reason, "Unavailable")
        assert.isTrue(error.retryable)
        quiet(error, s3.endpoint)
      })
    )
  )

  it.live("wrong credentials are Denied, and not tried again", () =>
    withLocal((s3) =>
      Effect.gen(function* () {
        const denied = Effect.gen(function* () {
          const r2 = yield* R2
          for (const call of [r2.head("k"), r2.checksum("k"), r2.delete("k"), r2.list("")]) {
            const error = yield* Effect.flip(Effect.asVoid(call))
            assert.strictEqual(error.reason, "Denied")
            assert.isFalse(error.retryable)
            quiet(error, s3.endpoint)
          }
        })
        yield* denied.pipe(Effect.provide(R2Live.layerFrom({ ...s3, secretAccessKey: Redacted.make("wrong") })))
        yield* denied.pipe(Effect.provide(R2Live.layerFrom({ ...s3, bucket: "nobodys", accessKeyId: "stranger" })))
        const nobodys = Effect.flatMap(R2, (r2) => Effect.flip(r2.list("")))
        const error = yield* nobodys.pipe(Effect.provide(R2Live.layerFrom({ ...s3, bucket: "nobodys" })))
        assert.strictEqual(error.reason, "Denied")
        assert.include(error.detail, "NoSuchBucket")
      })
    )
  )

  it.live("a server that is down is Unavailable within a few seconds", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* Effect.scoped(listening(() => {}))
      const begun = yield* Clock.currentTimeMillis
      const error = yield* Effect.flatMap(R2, (r2) => Effect.flip(r2.head("k"))).pipe(
        Effect.provide(R2Live.layerFrom(optionsOf(endpoint)))
      )
      assert.strictEqual(error.reason, "Unavailable")
      assert.include(error.detail, "ECONNREFUSED")
      assert.isBelow((yield* Clock.currentTimeMillis) - begun, 5_000)
      quiet(error, endpoint)
    })
  )

  it.effect("a server that never answers is Unavailable after 15 s", () =>
    Effect.gen(function* () {
      const asked = yield* Deferred.make<void>()
      const { endpoint } = yield* listening(() => Deferred.doneUnsafe(asked, Effect.void))
      const head = yield* Effect.flatMap(R2, (r2) => Effect.flip(r2.head("k"))).pipe(
        Effect.provide(R2Live.layerFrom(optionsOf(endpoint))),
        Effect.forkChild
      )
      yield* Deferred.await(asked)
      for (let second = 0; second < 15; second++) yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(head)
      assert.strictEqual(error.reason, "Unavailable")
      assert.include(error.detail, "no answer in time")
    })
  )

  it.effect("a body that stalls is Unavailable", () =>
    Effect.gen(function* () {
      const stalled = yield* Deferred.make<void>()
      const { endpoint } = yield* listening((_, answer) => {
        answer.writeHead(200, { "content-length": "1000", etag: '"e"' })
        answer.write("some", () => Deferred.doneUnsafe(stalled, Effect.void))
      })
      const read = yield* Effect.flatMap(R2, (r2) => Effect.flip(r2.checksum("k"))).pipe(
        Effect.provide(R2Live.layerFrom(optionsOf(endpoint))),
        Effect.forkChild
      )
      yield* Deferred.await(stalled)
      let error: R2Error | undefined
      // A step for the stall, the pauses and the answer's limit of each of the attempts.
      for (let step = 0; step < 200 && error === undefined; step++) {
        yield* TestClock.adjust("1 second")
        yield* TestClock.withLive(Effect.sleep("5 millis"))
        const exit = read.pollUnsafe()
        if (exit !== undefined) error = yield* exit
      }
      assert.strictEqual(error?.reason, "Unavailable")
    })
  )

  it.effect("without a bucket every call says that archival is off", () =>
    Effect.gen(function* () {
      const r2 = yield* R2
      const calls = [
        r2.presignPut("k", 1),
        r2.presignGet("k", 1),
        r2.head("k"),
        r2.checksum("k"),
        r2.delete("k"),
        r2.list("")
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(Effect.asVoid(call))
        assert.strictEqual(error.reason, "Unavailable")
        assert.strictEqual(error.detail, "archival is off")
      }
    }).pipe(Effect.provide(R2Live.layerDisabled))
  )

  it.effect.each([
    [{ name: "NoSuchKey", $metadata: { httpStatusCode: 404 } }, "Missing", "NoSuchKey (404)"],
    [{ name: "NotFound", $metadata: { httpStatusCode: 404 } }, "Missing", "NotFound (404)"],
    [{ name: "NoSuchBucket", $metadata: { httpStatusCode: 404 } }, "Denied", "NoSuchBucket (404)"],
    [{ name: "SignatureDoesNotMatch", $metadata: { httpStatusCode: 403 } }, "Denied", "SignatureDoesNotMatch (403)"],
    [{ name: "InvalidArgument", $metadata: { httpStatusCode: 400 } }, "Denied", "InvalidArgument (400)"],
    [{ name: "PermanentRedirect", $metadata: { httpStatusCode: 301 } }, "Denied", "PermanentRedirect (301)"],
    [{ name: "RequestTimeTooSkewed", $metadata: { httpStatusCode: 403 } }, "Unavailable", "RequestTimeTooSkewed (403)"],
    [{ name: "SlowDown", $metadata: { httpStatusCode: 503 } }, "Unavailable", "SlowDown (503)"],
    [{ name: "TooManyRequests", $metadata: { httpStatusCode: 429 } }, "Unavailable", "TooManyRequests (429)"],
    [{ name: "Error", code: "ECONNRESET", message: "http://secret" }, "Unavailable", "ECONNRESET"],
    ["anything", "Unavailable", "unknown"]
  ] as const)("an SDK error is told apart: %j", ([cause, reason, detail]) =>
    Effect.sync(() => {
      const error = R2Failure.fromSdk("head")(cause)
      assert.strictEqual(error.reason, reason)
      assert.strictEqual(error.detail, detail)
    })
  )
})
