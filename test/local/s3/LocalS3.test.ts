import { createHash } from "node:crypto"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import {
  CreateBucketCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client
} from "@aws-sdk/client-s3"
import { connect } from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as LocalS3 from "../../../src/local/s3/LocalS3.ts"
import { R2 } from "../../../src/services/r2/R2.ts"
import * as R2Live from "../../../src/services/r2/R2Live.ts"
import { send } from "../../contract/r2/senders.ts"

const bucket = "archives"
const bytes = (text: string) => Buffer.from(text)

const temporary = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped()).pipe(
  Effect.provide(NodeFileSystem.layer)
)

/** A server and the plane's client of it. */
const within = <A, E>(
  dataDir: string,
  use: (s3: LocalS3.LocalS3["Service"]) => Effect.Effect<A, E, R2 | LocalS3.LocalS3 | Scope.Scope>
) =>
  Effect.gen(function* () {
    const s3 = yield* LocalS3.LocalS3
    return yield* use(s3).pipe(Effect.provide(R2Live.layerFrom(s3)))
  }).pipe(
    Effect.provide(
      LocalS3.layer({ dataDir, port: 0, bucket, accessKeyId: "local", secretAccessKey: Redacted.make("secret") })
    )
  )

const client = (s3: LocalS3.LocalS3["Service"]) =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new S3Client({
          region: "auto",
          endpoint: s3.endpoint,
          forcePathStyle: true,
          maxAttempts: 1,
          credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: Redacted.value(s3.secretAccessKey) }
        })
    ),
    (made) => Effect.sync(() => made.destroy())
  )

const filesIn = (folder: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory(`${folder}/${bucket}`)).pipe(
    Effect.provide(NodeFileSystem.layer)
  )

const code = (body: Buffer) => /<Code>(\w+)<\/Code>/.exec(body.toString())?.[1]

describe("the local S3 server", () => {
  it.live("objects survive a restart; what a broken-off upload left does not", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporary
      const fs = yield* FileSystem.FileSystem
      yield* within(dataDir, () =>
        Effect.gen(function* () {
          const { url, headers } = yield* (yield* R2).presignPut("kept/ü.db", 60)
          assert.strictEqual((yield* send("PUT", url, headers, bytes("kept"))).status, 200)
        })
      )
      yield* fs.writeFileString(`${dataDir}/${bucket}/0123.temporary`, "half")
      yield* fs.writeFileString(`${dataDir}/${bucket}/4567.object`, "no header")
      yield* within(dataDir, () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          assert.deepStrictEqual(yield* r2.list(""), [{ key: "kept/ü.db", size: 4 }])
          assert.strictEqual(
            (yield* r2.checksum("kept/ü.db")).sha256,
            createHash("sha256").update("kept").digest("hex")
          )
          assert.isFalse((yield* filesIn(dataDir)).includes("0123.temporary"))
        })
      )
    }).pipe(Effect.provide(NodeFileSystem.layer), Effect.scoped)
  )

  it.effect("a presigned URL is refused from the second it ends", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_800_000_000_000)
      yield* within(yield* temporary, () =>
        Effect.gen(function* () {
          const { url, headers, expiresAt } = yield* (yield* R2).presignPut("late.db", 60)
          assert.strictEqual(expiresAt, 1_800_000_060_000)
          const get = yield* (yield* R2).presignGet("late.db", 120)
          yield* TestClock.setTime(expiresAt)
          const late = yield* send("PUT", url, headers, bytes("late"))
          assert.strictEqual(late.status, 403)
          assert.include(late.body.toString(), "Request has expired")
          assert.strictEqual((yield* send("GET", get.url)).status, 404)
          yield* TestClock.setTime(expiresAt - 1)
          assert.strictEqual((yield* send("PUT", url, headers, bytes("in time"))).status, 200)
          assert.strictEqual((yield* send("GET", get.url)).body.toString(), "in time")
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("an upload that is cut off is not stored, and leaves no file", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporary
      yield* within(dataDir, (s3) =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const { url } = yield* r2.presignPut("cut.db", 60)
          const path = url.slice(s3.endpoint.length)
          const port = Number(new URL(s3.endpoint).port)
          yield* Effect.callback<void>((resume) => {
            const socket = connect(port, "127.0.0.1", () => {
              socket.write(
                `PUT ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nIf-None-Match: *\r\nContent-Length: 100000\r\n\r\n`
              )
              socket.write(Buffer.alloc(50_000), () => socket.end())
            })
            socket.on("close", () => resume(Effect.void))
            socket.resume()
          })
          const left = yield* filesIn(dataDir).pipe(
            Effect.repeat({ schedule: Schedule.spaced("20 millis"), times: 100, until: (files) => files.length === 0 })
          )
          assert.deepStrictEqual(left, [])
          assert.deepStrictEqual(yield* r2.head("cut.db"), Option.none())
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("of many uploads to one key exactly one is stored", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const answers = yield* Effect.forEach(
            Array.from({ length: 12 }, (_, n) => Buffer.alloc(200_000, n)),
            (body) =>
              Effect.flatMap(r2.presignPut("race.db", 60), ({ url, headers }) => send("PUT", url, headers, body)),
            { concurrency: "unbounded" }
          )
          const won = answers.filter(({ status }) => status === 200)
          assert.strictEqual(won.length, 1)
          assert.isTrue(answers.every(({ status, body }) => status === 200 || code(body) === "PreconditionFailed"))
          assert.deepStrictEqual(yield* r2.list("race"), [{ key: "race.db", size: 200_000 }])
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("the SDK's own uploads are taken and checked: hash, trailer, aws-chunked", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, (s3) =>
        Effect.gen(function* () {
          const sdk = yield* client(s3)
          const put = (Key: string, Body: Buffer, more: object = {}) =>
            Effect.tryPromise(() => sdk.send(new PutObjectCommand({ Bucket: bucket, Key, Body, ...more })))
          yield* put("sdk/crc32.db", bytes("with a trailer or header of crc32"))
          yield* put("sdk/sha256.db", bytes("sha"), { ChecksumAlgorithm: "SHA256" })
          const wrong = yield* Effect.flip(
            put("sdk/wrong.db", bytes("sha"), { ContentMD5: "AAAAAAAAAAAAAAAAAAAAAA==" })
          )
          assert.strictEqual((wrong.cause as Error).name, "BadDigest")
          sdk.middlewareStack.add(
            (next) => (args) => {
              Object.assign(args.request ?? {}, { body: bytes("changed afterwards") })
              return next(args)
            },
            { step: "deserialize", name: "changesTheSignedBody" }
          )
          const changed = yield* Effect.flip(put("sdk/changed.db", bytes("as it was signed .")))
          assert.strictEqual((changed.cause as Error).name, "XAmzContentSHA256Mismatch")
          const keys = (yield* (yield* R2).list("sdk/")).map(({ key }) => key)
          assert.deepStrictEqual(keys, ["sdk/crc32.db", "sdk/sha256.db"])
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("a listing goes on over pages of a thousand", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporary
      const fs = yield* FileSystem.FileSystem
      const keys = Array.from({ length: 1_203 }, (_, n) => `many/${String(n).padStart(5, "0")}`)
      yield* fs.makeDirectory(`${dataDir}/${bucket}`)
      yield* Effect.forEach(
        keys,
        (key) => {
          const header = JSON.stringify({ key, size: 1, etag: "9dd4e461268c8034f5c8564e155c67a6", modified: 0 })
          const file = `${dataDir}/${bucket}/${createHash("sha256").update(key).digest("hex")}.object`
          return fs.writeFileString(file, `${header.padEnd(8192)}x`)
        },
        { concurrency: 16, discard: true }
      )
      yield* within(dataDir, (s3) =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const sdk = yield* client(s3)
          const page = yield* Effect.promise(() =>
            sdk.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: "many/" }))
          )
          assert.strictEqual(page.Contents?.length, 1_000)
          assert.isTrue(page.IsTruncated)
          assert.deepStrictEqual(
            (yield* r2.list("many/")).map(({ key }) => key),
            keys
          )
        })
      )
    }).pipe(Effect.provide(NodeFileSystem.layer), Effect.scoped)
  )

  it.live("parts of an object by Range, and only of the version that was meant", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, () =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const put = yield* r2.presignPut("range.db", 60)
          yield* send("PUT", put.url, put.headers, bytes("0123456789"))
          const { url } = yield* r2.presignGet("range.db", 60)
          const part = (range: string, more: Readonly<Record<string, string>> = {}) =>
            Effect.map(send("GET", url, { range, ...more }), ({ status, body, headers }) => [
              status,
              body.toString().startsWith("<") ? code(body) : body.toString(),
              headers["content-range"]
            ])
          assert.deepStrictEqual(yield* part("bytes=2-4"), [206, "234", "bytes 2-4/10"])
          assert.deepStrictEqual(yield* part("bytes=7-"), [206, "789", "bytes 7-9/10"])
          assert.deepStrictEqual(yield* part("bytes=-2"), [206, "89", "bytes 8-9/10"])
          assert.deepStrictEqual(yield* part("bytes=10-"), [416, "InvalidRange", undefined])
          assert.deepStrictEqual(yield* part("lines=1-2"), [200, "0123456789", undefined])
          assert.deepStrictEqual(yield* part("bytes=0-0", { "if-match": '"other"' }), [
            412,
            "PreconditionFailed",
            undefined
          ])
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("buckets: made, found, missed; anything else is not implemented", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, (s3) =>
        Effect.gen(function* () {
          const sdk = yield* client(s3)
          const name = (effect: Effect.Effect<unknown, unknown>) =>
            Effect.map(Effect.flip(effect), (error) => (error as { cause: Error }).cause.name)
          const head = (Bucket: string) => Effect.tryPromise(() => sdk.send(new HeadBucketCommand({ Bucket })))
          assert.strictEqual(yield* name(head("another")), "NotFound")
          yield* Effect.promise(() => sdk.send(new CreateBucketCommand({ Bucket: "another" })))
          yield* head("another")
          const put = (Bucket: string) =>
            Effect.tryPromise(() => sdk.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" })))
          assert.strictEqual(yield* name(put("missing")), "NoSuchBucket")
          assert.strictEqual(code((yield* send("GET", `${s3.endpoint}/${bucket}`)).body), "AccessDenied")
          const { url, headers } = yield* (yield* R2).presignPut("sub.db", 60)
          assert.strictEqual((yield* send("PUT", `${url}&acl`, headers, bytes("x"))).status, 403)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("faults: failing, losing, shortening and cutting, until they are cleared", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, (s3) =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const put = (key: string) =>
            Effect.flatMap(r2.presignPut(key, 60), ({ url, headers }) =>
              Effect.map(send("PUT", url, headers, bytes("0123456789")), ({ status }) => status)
            )
          yield* s3.setFaults({ fail: 1 })
          assert.strictEqual(yield* put("f"), 503)
          yield* s3.setFaults({ lose: 1 })
          assert.strictEqual(yield* put("f"), 200)
          assert.deepStrictEqual(yield* r2.head("f"), Option.none())
          yield* s3.setFaults({ shorten: 1 })
          assert.strictEqual(yield* put("f"), 200)
          assert.deepStrictEqual(yield* r2.head("f"), Option.some({ size: 5 }))
          yield* s3.setFaults({})
          assert.strictEqual(yield* put("g"), 200)
          yield* s3.setFaults({ cut: 1 })
          const { url } = yield* r2.presignGet("g", 60)
          assert.match((yield* Effect.flip(send("GET", url))).message, /aborted|hang up/)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("a late answer comes after its time, and what was asked is done", () =>
    Effect.gen(function* () {
      yield* within(yield* temporary, (s3) =>
        Effect.gen(function* () {
          const r2 = yield* R2
          const { url, headers } = yield* r2.presignPut("k", 60)
          yield* s3.setFaults({ late: { share: 1, ms: 300 } })
          const [took, answer] = yield* Effect.timed(send("PUT", url, headers, bytes("0123456789")))
          assert.isAtLeast(Duration.toMillis(took), 290)
          assert.strictEqual(answer.status, 200)
          yield* s3.setFaults({ late: { share: 0, ms: 600_000 } })
          assert.deepStrictEqual(yield* r2.head("k"), Option.some({ size: 10 }))
        })
      )
    }).pipe(Effect.scoped)
  )
})
