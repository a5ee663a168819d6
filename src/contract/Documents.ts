/**
 * Client ⇄ project server: JSON documents by key, over a WebSocket at `/ws` (text frames, each answer carries its
 * request's `id`, requests may be pipelined and are carried out in order) and over HTTP at `/documents/<key>`.
 *
 * A write is answered once it is on disk. Versions come from one counter per project, so they grow with every write of
 * a key and never come back, also over delete and re-create; 0 stands for "does not exist".
 */
import * as Schema from "effect/Schema"

export const limits = {
  /** UTF-8; also of a prefix. */
  maxKeyBytes: 512,
  /** Of the value as JSON, UTF-8. */
  maxValueBytes: 1024 * 1024,
  /** A value of the largest size whose every character is escaped, and room for the rest of the request. */
  maxFrameBytes: 8 * 1024 * 1024,
  listDefault: 100,
  listMax: 1000,
  maxPrefixes: 100
} as const

const encoder = new TextEncoder()

/** No UTF-16 unit becomes more than three bytes of UTF-8. */
export const exceedsBytes = (text: string, bytes: number): boolean =>
  text.length > bytes || (text.length * 3 > bytes && encoder.encode(text).length > bytes)

const text = Schema.String.check(
  Schema.makeFilter((value) => (value.isWellFormed() && !value.includes("\0")) || "must be Unicode text without NUL")
)
const Id = Schema.Union([Schema.String, Schema.Finite])
const Key = text.check(Schema.isMinLength(1))
const Version = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
/** Write only if the document has this version; 0: only if it does not exist. */
const ifVersion = Schema.optionalKey(Version)

export const Put = Schema.Struct({
  id: Id,
  op: Schema.Literal("put"),
  key: Key,
  value: Schema.Unknown,
  if_version: ifVersion
})
export const Get = Schema.Struct({ id: Id, op: Schema.Literal("get"), key: Key })
export const Delete = Schema.Struct({ id: Id, op: Schema.Literal("delete"), key: Key, if_version: ifVersion })
export const List = Schema.Struct({
  id: Id,
  op: Schema.Literal("list"),
  prefix: Schema.optionalKey(text),
  /** Keys behind this one, in the order of their UTF-8 bytes. */
  after: Schema.optionalKey(text),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: limits.listMax })))
})
/** The empty prefix stands for every key. */
export const Subscribe = Schema.Struct({ id: Id, op: Schema.Literal("subscribe"), prefix: text })
export const Unsubscribe = Schema.Struct({ id: Id, op: Schema.Literal("unsubscribe"), prefix: text })

export type Request =
  | typeof Put.Type
  | typeof Get.Type
  | typeof Delete.Type
  | typeof List.Type
  | typeof Subscribe.Type
  | typeof Unsubscribe.Type

/** Over HTTP: `conflict` is 412, `sealed` 503 (or a replay), `too_large` 413. */
export const errorCodes = ["bad_request", "conflict", "too_large", "sealed", "internal"] as const
export type ErrorCode = (typeof errorCodes)[number]

const ok = { id: Id, ok: Schema.Literal(true) }
export const PutAnswer = Schema.Struct({ ...ok, version: Version })
export const GetAnswer = Schema.Struct({ ...ok, value: Schema.Unknown, version: Version })
/** The version of the deletion; 0 where there was nothing to delete. */
export const DeleteAnswer = Schema.Struct({ ...ok, version: Version })
/** `next` is the `after` of the next page, null on the last one. */
export const KeyList = Schema.Struct({
  keys: Schema.Array(Schema.Struct({ key: Schema.String, version: Version })),
  next: Schema.NullOr(Schema.String)
})
export type KeyList = typeof KeyList.Type
export const ListAnswer = Schema.Struct({ ...ok, ...KeyList.fields })
export const ErrorAnswer = Schema.Struct({
  /** Null where the request had none. */
  id: Schema.NullOr(Id),
  ok: Schema.Literal(false),
  error: Schema.Struct({ code: Schema.Literals(errorCodes), message: Schema.String })
})
/** Pushed to subscribers after the write is on disk, in the order of versions; `value` of a put only. */
export const Event = Schema.Struct({
  event: Schema.Literals(["put", "delete"]),
  key: Schema.String,
  value: Schema.optionalKey(Schema.Unknown),
  version: Version
})

/** Codes with which the server closes a WebSocket (RFC 6455, section 7.4.1, and its registry). */
export const closeCodes = {
  /** It stops, or gives its data away: reconnect. */
  goingAway: 1001,
  /** All documents were replaced by an import: reconnect and read again. */
  serviceRestart: 1012,
  /** The client reads its events too slowly. */
  tryAgainLater: 1013
} as const
