/** A path-style request target: `/bucket/key?query`, taken apart as S3 and its signatures see it. */
import { failure, type S3Failure } from "./S3Failure.ts"

export interface Target {
  readonly bucket: string
  /** Null: the bucket itself. */
  readonly key: string | null
  readonly query: ReadonlyArray<readonly [name: string, value: string]>
  /** As signature version 4 canonicalizes them. */
  readonly canonicalPath: string
}

/** Bytes of UTF-8 (S3's limit). */
const LONGEST_KEY = 1024
const BUCKET = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/

/** RFC 3986, everything but the unreserved characters. */
export const awsEncode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

const decode = (text: string): string | null => {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

export const isTarget = (value: Target | S3Failure): value is Target => !("_tag" in value)

export const parse = (url: string): Target | S3Failure => {
  const mark = url.indexOf("?")
  const path = decode(mark === -1 ? url : url.slice(0, mark))
  if (path === null || !path.startsWith("/")) return failure("InvalidURI", "The path can't be decoded.")
  const query: Array<readonly [string, string]> = []
  for (const pair of mark === -1 ? [] : url.slice(mark + 1).split("&")) {
    if (pair === "") continue
    const [rawName = "", ...rest] = pair.split("=")
    const name = decode(rawName)
    const value = decode(rest.join("="))
    if (name === null || value === null) return failure("InvalidURI", "The query can't be decoded.")
    query.push([name, value])
  }
  const slash = path.indexOf("/", 1)
  const bucket = slash === -1 ? path.slice(1) : path.slice(1, slash)
  const key = slash === -1 || slash === path.length - 1 ? null : path.slice(slash + 1)
  if (!BUCKET.test(bucket)) return failure("InvalidBucketName", "The specified bucket is not valid.")
  if (key !== null && Buffer.byteLength(key) > LONGEST_KEY) return failure("KeyTooLongError", "Your key is too long.")
  if (key?.includes("\0") === true) return failure("InvalidArgument", "A key holds no NUL.")
  return { bucket, key, query, canonicalPath: path.split("/").map(awsEncode).join("/") }
}

export const parameter = (target: Target, name: string): string | null =>
  target.query.find(([n]) => n === name)?.[1] ?? null
