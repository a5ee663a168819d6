/** S3's answers in XML, of which there are few enough to write by hand. */
import * as DateTime from "effect/DateTime"
import type { StoredObject } from "./ObjectFolder.ts"
import type { S3Failure } from "./S3Failure.ts"
import { awsEncode } from "./Target.ts"

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;"
}

/** References keep control characters and line ends as they are. */
const escape = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what is escaped here
  text.replace(/[&<>"'\u0001-\u001f]/g, (c) => entities[c] ?? `&#${c.charCodeAt(0)};`)

const element = (name: string, text: string | number | boolean): string => `<${name}>${escape(String(text))}</${name}>`

export const isoOf = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

export const error = ({ code, text }: S3Failure, resource: string): string =>
  `${DECLARATION}<Error>${element("Code", code)}${element("Message", text)}${element("Resource", resource)}</Error>`

export interface Listing {
  readonly bucket: string
  readonly prefix: string
  readonly maxKeys: number
  readonly objects: ReadonlyArray<StoredObject>
  readonly truncated: boolean
  readonly urlEncoded: boolean
}

/** The continuation token is the last key, which is where the next page goes on. */
export const tokenOf = (key: string): string => Buffer.from(key).toString("base64url")
export const keyOfToken = (token: string): string => Buffer.from(token, "base64url").toString()

export const listing = (page: Listing): string => {
  const named = (key: string) => (page.urlEncoded ? awsEncode(key).replaceAll("%2F", "/") : key)
  const last = page.objects.at(-1)
  const contents = page.objects.map(
    ({ key, size, etag, modified }) =>
      `<Contents>${element("Key", named(key))}${element("LastModified", isoOf(modified))}` +
      `${element("ETag", `"${etag}"`)}${element("Size", size)}${element("StorageClass", "STANDARD")}</Contents>`
  )
  return [
    `${DECLARATION}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`,
    element("Name", page.bucket),
    element("Prefix", named(page.prefix)),
    element("KeyCount", page.objects.length),
    element("MaxKeys", page.maxKeys),
    page.urlEncoded ? element("EncodingType", "url") : "",
    element("IsTruncated", page.truncated),
    page.truncated && last !== undefined ? element("NextContinuationToken", tokenOf(last.key)) : "",
    ...contents,
    "</ListBucketResult>"
  ].join("")
}
