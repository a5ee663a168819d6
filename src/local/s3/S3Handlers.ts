/** The requests of S3 that a bucket of archives sees. Everything else is `NotImplemented`, never a wrong success. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"
import type { ObjectFolder, StoredObject } from "./ObjectFolder.ts"
import { failure, type S3Failure } from "./S3Failure.ts"
import * as S3Fault from "./S3Fault.ts"
import * as S3Xml from "./S3Xml.ts"
import * as Signature from "./Signature.ts"
import * as Target from "./Target.ts"
import * as Upload from "./Upload.ts"

type Request = HttpServerRequest.HttpServerRequest
type Answer = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  S3Failure | PlatformError | HttpServerError.HttpServerError
>

const PAGE = 1000
const XML = "application/xml"
/** Parameters without a meaning for what is done. */
const NEUTRAL = /^(x-amz-.*|x-id|response-.*)$/i
const LIST = new Set([
  "list-type",
  "prefix",
  "continuation-token",
  "start-after",
  "max-keys",
  "encoding-type",
  "fetch-owner"
])

const xml = (body: string, status = 200) => HttpServerResponse.text(body, { status, contentType: XML })

/** A sub-resource (`?acl`, `?uploads`, …) changes what a request means, so an unknown one is refused. */
const unknownParameter = (target: Target.Target, known: ReadonlySet<string>): S3Failure | null => {
  const unknown = target.query.find(([name]) => !NEUTRAL.test(name) && !known.has(name))
  return unknown === undefined ? null : failure("NotImplemented", `The parameter ${unknown[0]} is not implemented.`)
}

const NO_PARAMETERS: ReadonlySet<string> = new Set()

/** `bytes=a-b`, `a-` or `-n`; null: the whole object; undefined: outside of it. Other forms are ignored, as by S3. */
const rangeOf = (header: string | undefined, size: number): { from: number; length: number } | null | undefined => {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "")
  const [, first = "", second = ""] = match ?? []
  if (match === null || (first === "" && second === "")) return null
  const from = first === "" ? Math.max(0, size - Number(second)) : Number(first)
  const to = first === "" || second === "" ? size - 1 : Math.min(size - 1, Number(second))
  return from > to ? undefined : { from, length: to - from + 1 }
}

const matches = (header: string, etag: string): boolean =>
  header.split(",").some((one) => one.trim() === "*" || one.trim().replaceAll('"', "") === etag)

export const make = (
  folder: ObjectFolder,
  credentials: Signature.Credentials,
  faults: () => S3Fault.Faults
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest> => {
  const objectHeaders = (object: StoredObject) => ({
    etag: `"${object.etag}"`,
    "last-modified": new Date(object.modified).toUTCString(),
    "accept-ranges": "bytes"
  })

  const putObject = Effect.fnUntraced(function* (
    request: Request,
    bucket: string,
    key: string,
    verified: Signature.Verified,
    fault: S3Fault.Fault | null
  ) {
    const condition = request.headers["if-none-match"]
    if (condition !== undefined && condition !== "*")
      return yield* failure("NotImplemented", "If-None-Match of a PUT is * only.")
    if (request.headers["if-match"] !== undefined || request.headers["x-amz-copy-source"] !== undefined)
      return yield* failure("NotImplemented", "If-Match of a PUT and copies are not implemented.")
    const upload = Upload.read(request.stream, request.headers, verified)
    if ("_tag" in upload) return yield* upload
    const stored = yield* folder.put({
      bucket,
      key,
      body: upload.body,
      size: upload.size,
      sums: upload.sums,
      check: upload.check,
      ifNoneMatch: condition === "*",
      fault: fault === "lose" ? "not_stored" : fault === "shorten" ? "short" : null
    })
    return HttpServerResponse.empty({ status: 200, headers: { etag: `"${stored.etag}"` } })
  })

  const getObject = Effect.fnUntraced(function* (request: Request, bucket: string, key: string, cut: boolean) {
    const object = yield* folder.find(bucket, key)
    const { "if-match": wanted, "if-none-match": known } = request.headers
    if (wanted !== undefined && !matches(wanted, object.etag))
      return yield* failure("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    const headers = objectHeaders(object)
    if (known !== undefined && matches(known, object.etag)) return HttpServerResponse.empty({ status: 304, headers })
    const range = rangeOf(request.headers["range"], object.size)
    if (range === undefined) return yield* failure("InvalidRange", "The requested range is not satisfiable")
    const { from, length } = range ?? { from: 0, length: object.size }
    const partial = { ...headers, "content-range": `bytes ${from}-${from + length - 1}/${object.size}` }
    const answer = { status: range === null ? 200 : 206, headers: range === null ? headers : partial }
    if (request.method === "HEAD")
      return HttpServerResponse.empty({ ...answer, headers: { ...answer.headers, "content-length": String(length) } })
    const body = folder.read(bucket, key, from, cut ? Math.floor(length / 2) : length)
    return HttpServerResponse.stream(cut ? Stream.concat(body, Stream.fail("cut")) : body, {
      ...answer,
      contentLength: length,
      contentType: "application/octet-stream"
    })
  })

  const listObjects = Effect.fnUntraced(function* (target: Target.Target) {
    const get = (name: string) => Target.parameter(target, name)
    if (get("list-type") !== "2")
      return yield* failure("NotImplemented", "Only version 2 of the listing is implemented.")
    const asked = Number(get("max-keys") ?? PAGE)
    if (!Number.isInteger(asked) || asked < 0) return yield* failure("InvalidArgument", "max-keys is not valid.")
    const prefix = get("prefix") ?? ""
    const token = get("continuation-token")
    const after = token === null ? (get("start-after") ?? "") : S3Xml.keyOfToken(token)
    const maxKeys = Math.min(PAGE, asked)
    const page = yield* folder.list(target.bucket, prefix, after, maxKeys)
    return xml(
      S3Xml.listing({ ...page, bucket: target.bucket, prefix, maxKeys, urlEncoded: get("encoding-type") === "url" })
    )
  })

  const onBucket = (request: Request, target: Target.Target): Answer => {
    const unknown = unknownParameter(target, request.method === "GET" ? LIST : NO_PARAMETERS)
    if (unknown !== null) return Effect.fail(unknown)
    switch (request.method) {
      case "GET":
        return listObjects(target)
      case "HEAD":
        return folder.hasBucket(target.bucket)
          ? Effect.succeed(HttpServerResponse.empty({ status: 200 }))
          : Effect.fail(failure("NoSuchBucket", "The specified bucket does not exist."))
      case "PUT":
        return Effect.as(folder.createBucket(target.bucket), HttpServerResponse.empty({ status: 200 }))
      default:
        return Effect.fail(failure("NotImplemented", "Not implemented for buckets."))
    }
  }

  const onObject = Effect.fnUntraced(function* (
    request: Request,
    target: Target.Target,
    key: string,
    verified: Signature.Verified
  ) {
    const unknown = unknownParameter(target, NO_PARAMETERS)
    if (unknown !== null) return yield* unknown
    const kinds = { PUT: ["fail", "lose", "shorten"], GET: ["fail", "cut"] } as const
    const possible = request.method === "PUT" || request.method === "GET" ? kinds[request.method] : (["fail"] as const)
    const fault = yield* S3Fault.draw(faults(), possible)
    if (fault === "fail") return yield* failure("SlowDown", "Please reduce your request rate.")
    switch (request.method) {
      case "PUT":
        return yield* putObject(request, target.bucket, key, verified, fault)
      case "GET":
      case "HEAD":
        return yield* getObject(request, target.bucket, key, fault === "cut")
      case "DELETE":
        return yield* Effect.as(folder.remove(target.bucket, key), HttpServerResponse.empty({ status: 204 }))
      default:
        return yield* failure("MethodNotAllowed", "The specified method is not allowed against this resource.")
    }
  })

  const answer = Effect.fnUntraced(function* (request: Request) {
    const target = Target.parse(request.url)
    if (!Target.isTarget(target)) return yield* target
    const now = yield* Clock.currentTimeMillis
    const verified = Signature.verify({ method: request.method, target, headers: request.headers, now }, credentials)
    if (!Signature.isVerified(verified)) return yield* verified
    if (target.key === null) return yield* onBucket(request, target)
    return yield* S3Fault.delayed(faults())(onObject(request, target, target.key, verified))
  })

  return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const path = request.url.split("?")[0] ?? ""
    const refused = (problem: S3Failure) =>
      Effect.succeed(
        request.method === "HEAD"
          ? HttpServerResponse.empty({ status: problem.status })
          : xml(S3Xml.error(problem, path), problem.status)
      )
    return answer(request).pipe(
      Effect.catchTags({
        S3Failure: refused,
        HttpServerError: () => refused(failure("IncompleteBody", "The request's body broke off.")),
        PlatformError: (error) =>
          Effect.andThen(
            Effect.logError("the local S3 server's disk failed", error),
            refused(failure("InternalError", "We encountered an internal error."))
          )
      })
    )
  })
}
