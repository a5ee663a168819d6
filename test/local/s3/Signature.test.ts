/** Against the examples that AWS publishes for signature version 4 of S3. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as AwsChunked from "../../../src/local/s3/AwsChunked.ts"
import * as Signature from "../../../src/local/s3/Signature.ts"
import * as Target from "../../../src/local/s3/Target.ts"

const credentials = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: Redacted.make("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}
/** 24 May 2013, midnight. */
const DAY = 1_369_353_600_000
const SCOPE = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"

const problem = (result: Signature.Verified | { readonly code: string }) => ("code" in result ? result.code : null)

const presigned = (changes: Readonly<Record<string, string>> = {}): Signature.SignedRequest => ({
  method: "GET",
  target: {
    bucket: "examplebucket",
    key: "test.txt",
    canonicalPath: "/test.txt",
    query: Object.entries({
      "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
      "X-Amz-Credential": SCOPE,
      "X-Amz-Date": "20130524T000000Z",
      "X-Amz-Expires": "86400",
      "X-Amz-SignedHeaders": "host",
      "X-Amz-Signature": "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
      ...changes
    })
  },
  headers: { host: "examplebucket.s3.amazonaws.com" },
  now: DAY
})

const ranged = (headers: Readonly<Record<string, string>> = {}): Signature.SignedRequest => ({
  method: "GET",
  target: { bucket: "examplebucket", key: "test.txt", canonicalPath: "/test.txt", query: [] },
  headers: {
    host: "examplebucket.s3.amazonaws.com",
    range: "bytes=0-9",
    "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-amz-date": "20130524T000000Z",
    authorization:
      `AWS4-HMAC-SHA256 Credential=${SCOPE},SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,` +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ...headers
  },
  now: DAY
})

describe("signatures", () => {
  it("takes the documents' presigned URL and header", () => {
    assert.isNull(problem(Signature.verify(presigned(), credentials)))
    assert.isNull(problem(Signature.verify(ranged(), credentials)))
  })

  it("a presigned URL lives until its last second, not before its time, and at most a week", () => {
    const at = (now: number) => problem(Signature.verify({ ...presigned(), now }, credentials))
    assert.isNull(at(DAY + 86_400_000 - 1))
    assert.strictEqual(at(DAY + 86_400_000), "AccessDenied")
    assert.strictEqual(at(DAY - 16 * 60_000), "AccessDenied")
    const week = Signature.verify(presigned({ "X-Amz-Expires": "604801" }), credentials)
    assert.strictEqual(problem(week), "AuthorizationQueryParametersError")
  })

  it("a signed header lives for a quarter of an hour either way", () => {
    const at = (now: number) => problem(Signature.verify({ ...ranged(), now }, credentials))
    assert.isNull(at(DAY + 15 * 60_000))
    assert.strictEqual(at(DAY + 15 * 60_000 + 1), "RequestTimeTooSkewed")
    assert.strictEqual(at(DAY - 15 * 60_000 - 1), "RequestTimeTooSkewed")
  })

  it("refuses what was changed, and says why", () => {
    const secret = { ...credentials, secretAccessKey: Redacted.make("another") }
    const stranger = { ...credentials, accessKeyId: "AKIAANOTHER" }
    assert.strictEqual(problem(Signature.verify(presigned(), secret)), "SignatureDoesNotMatch")
    assert.strictEqual(problem(Signature.verify(presigned(), stranger)), "InvalidAccessKeyId")
    const method = Signature.verify({ ...presigned(), method: "PUT" }, credentials)
    assert.strictEqual(problem(method), "SignatureDoesNotMatch")
    const longer = Signature.verify(presigned({ "X-Amz-Expires": "86401" }), credentials)
    assert.strictEqual(problem(longer), "SignatureDoesNotMatch")
    assert.strictEqual(problem(Signature.verify(ranged({ range: "bytes=0-10" }), credentials)), "SignatureDoesNotMatch")
    assert.strictEqual(problem(Signature.verify(ranged({ "x-amz-acl": "public-read" }), credentials)), "AccessDenied")
    assert.strictEqual(
      problem(Signature.verify(ranged({ authorization: "Basic eDp5" }), credentials)),
      "AuthorizationHeaderMalformed"
    )
    const anonymous = Signature.verify({ ...ranged(), headers: { host: "h" } }, credentials)
    assert.strictEqual(problem(anonymous), "AccessDenied")
  })
})

const SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
const chunkedRequest: Signature.SignedRequest = {
  method: "PUT",
  target: {
    bucket: "examplebucket",
    key: "chunkObject.txt",
    canonicalPath: "/examplebucket/chunkObject.txt",
    query: []
  },
  headers: {
    host: "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "content-length": "66824",
    authorization:
      `AWS4-HMAC-SHA256 Credential=${SCOPE},` +
      "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;" +
      `x-amz-decoded-content-length;x-amz-storage-class,Signature=${SEED}`
  },
  now: DAY
}
const chunk = (size: number, signature: string) =>
  `${size.toString(16)};chunk-signature=${signature}\r\n${"a".repeat(size)}\r\n`
const chunkedBody =
  chunk(65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") +
  chunk(1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497") +
  chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")

const decoded = Effect.fnUntraced(function* (body: string, verified: Signature.Verified, pieceBytes: number) {
  const bytes = Buffer.from(body)
  const pieces: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes))
  const decoder = AwsChunked.decoder(verified)
  const out = yield* Stream.runCollect(decoder.decode(Stream.fromIterable(pieces)))
  return { text: Buffer.concat(out).toString(), trailers: decoder.trailers }
})

const seed = Effect.suspend(() => {
  const verified = Signature.verify(chunkedRequest, credentials)
  return Signature.isVerified(verified) ? Effect.succeed(verified) : Effect.fail(verified)
})

describe("aws-chunked", () => {
  it.effect.each([1, 7, 64, 65_536, 1_000_000])("takes the documents' upload in pieces of %i bytes", (pieceBytes) =>
    Effect.gen(function* () {
      const { text } = yield* decoded(chunkedBody, yield* seed, pieceBytes)
      assert.strictEqual(text, "a".repeat(66_560))
    })
  )

  it.effect("refuses a changed byte, a missing end and a wrong frame", () =>
    Effect.gen(function* () {
      const verified = yield* seed
      const code = (body: string) => Effect.map(Effect.flip(decoded(body, verified, 1000)), (error) => error.code)
      assert.strictEqual(yield* code(chunkedBody.replace("aaaa", "aaba")), "SignatureDoesNotMatch")
      assert.strictEqual(yield* code(chunkedBody.slice(0, 66_000)), "IncompleteBody")
      assert.strictEqual(yield* code(chunkedBody.slice(0, -90)), "IncompleteBody")
      assert.strictEqual(yield* code("zz\r\n"), "IncompleteBody")
      assert.strictEqual(yield* code("9".repeat(5000)), "IncompleteBody")
    })
  )

  it.effect("hands over the trailers of an unsigned upload", () =>
    Effect.gen(function* () {
      const unsigned = { ...(yield* seed), payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER" }
      const body = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
      const { text, trailers } = yield* decoded(body, unsigned, 3)
      assert.strictEqual(text, "hello world")
      assert.deepStrictEqual([...trailers], [["x-amz-checksum-crc32", "DUoRhQ=="]])
    })
  )
})

describe("request targets", () => {
  const parsed = (url: string) => {
    const target = Target.parse(url)
    return Target.isTarget(target) ? [target.bucket, target.key, target.canonicalPath] : target.code
  }

  it("takes bucket and key apart, whatever the key holds", () => {
    assert.deepStrictEqual(parsed("/box/a/b%20c+d?x=1"), ["box", "a/b c+d", "/box/a/b%20c%2Bd"])
    assert.deepStrictEqual(parsed("/box/../../etc/passwd"), ["box", "../../etc/passwd", "/box/../../etc/passwd"])
    assert.deepStrictEqual(parsed("/box//abs"), ["box", "/abs", "/box//abs"])
    assert.deepStrictEqual(parsed("/box/"), ["box", null, "/box/"])
  })

  it("refuses what is no bucket or no key", () => {
    assert.strictEqual(parsed("/"), "InvalidBucketName")
    assert.strictEqual(parsed("/.."), "InvalidBucketName")
    assert.strictEqual(parsed("/../etc"), "InvalidBucketName")
    assert.strictEqual(parsed("/_local/faults"), "InvalidBucketName")
    assert.strictEqual(parsed("/%zz/a"), "InvalidURI")
    assert.strictEqual(parsed("/box/a%00b"), "InvalidArgument")
    assert.strictEqual(parsed(`/box/${"k".repeat(1025)}`), "KeyTooLongError")
  })
})
