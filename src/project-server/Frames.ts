/** Text frames of the document protocol: requests to commands, outcomes to answers. Pure. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Documents from "../contract/Documents.ts"
import type { Change, Command, Condition, Outcome } from "./DocumentStore.ts"

type ErrorCode = Documents.ErrorCode

export type Parsed =
  | { readonly _tag: "Command"; readonly id: string; readonly command: Command }
  | { readonly _tag: "Subscribe" | "Unsubscribe"; readonly id: string; readonly prefix: string }
  | { readonly _tag: "Invalid"; readonly id: string; readonly code: ErrorCode; readonly message: string }

type Decode = (frame: unknown) => Result.Result<Documents.Request, Schema.SchemaError>

const decoders: Readonly<Record<Documents.Request["op"], Decode>> = {
  put: Schema.decodeUnknownResult(Documents.Put),
  get: Schema.decodeUnknownResult(Documents.Get),
  delete: Schema.decodeUnknownResult(Documents.Delete),
  list: Schema.decodeUnknownResult(Documents.List),
  subscribe: Schema.decodeUnknownResult(Documents.Subscribe),
  unsubscribe: Schema.decodeUnknownResult(Documents.Unsubscribe)
}
const isOperation = (op: unknown): op is Documents.Request["op"] =>
  typeof op === "string" && Object.hasOwn(decoders, op)

const operations = Object.keys(decoders).join(", ")

/** The id as JSON, ready to be put into an answer. */
const idOf = (frame: object): string => {
  const id: unknown = "id" in frame ? frame.id : null
  return (typeof id === "string" && id.isWellFormed()) || (typeof id === "number" && Number.isFinite(id))
    ? JSON.stringify(id)
    : "null"
}

const invalid = (id: string, code: ErrorCode, message: string): Parsed => ({ _tag: "Invalid", id, code, message })

const conditionOf = (version: number | undefined): Condition | undefined =>
  version === undefined ? undefined : [version]

export const keyTooLong = `a key has at most ${Documents.limits.maxKeyBytes} bytes`
export const valueTooLarge = `a value has at most ${Documents.limits.maxValueBytes} bytes as JSON`

/** Depth would overflow the stack of whoever walks the value; JSON.stringify throws for it. */
const stringify = (value: unknown): string | undefined => {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

export const parse = (text: string): Parsed => {
  let frame: unknown
  try {
    frame = JSON.parse(text)
  } catch {
    return invalid("null", "bad_request", "not JSON")
  }
  if (typeof frame !== "object" || frame === null) return invalid("null", "bad_request", "not a JSON object")
  const id = idOf(frame)
  const op: unknown = "op" in frame ? frame.op : undefined
  if (!isOperation(op)) return invalid(id, "bad_request", `op must be one of ${operations}`)
  const decoded = decoders[op](frame)
  if (Result.isFailure(decoded)) return invalid(id, "bad_request", decoded.failure.message.replaceAll(/\s*\n\s*/g, " "))
  const request = decoded.success
  const long = Documents.limits.maxKeyBytes
  switch (request.op) {
    case "subscribe":
    case "unsubscribe":
      if (Documents.exceedsBytes(request.prefix, long)) return invalid(id, "too_large", keyTooLong)
      return { _tag: request.op === "subscribe" ? "Subscribe" : "Unsubscribe", id, prefix: request.prefix }
    case "list": {
      const { prefix = "", after = "", limit = Documents.limits.listDefault } = request
      if (Documents.exceedsBytes(prefix, long) || Documents.exceedsBytes(after, long)) {
        return invalid(id, "too_large", keyTooLong)
      }
      return { _tag: "Command", id, command: { op: "list", prefix, after, limit } }
    }
  }
  if (Documents.exceedsBytes(request.key, long)) return invalid(id, "too_large", keyTooLong)
  if (request.op === "get") return { _tag: "Command", id, command: { op: "get", key: request.key } }
  const condition = conditionOf(request.if_version)
  if (request.op === "delete") return { _tag: "Command", id, command: { op: "delete", key: request.key, condition } }
  const json = stringify(request.value)
  if (json === undefined) return invalid(id, "bad_request", "the value is not JSON")
  if (Documents.exceedsBytes(json, Documents.limits.maxValueBytes)) return invalid(id, "too_large", valueTooLarge)
  return { _tag: "Command", id, command: { op: "put", key: request.key, json, condition } }
}

/** Stored values are JSON, so they are put into the answer as they are. */
export const answer = (id: string, outcome: Outcome): string => {
  switch (outcome._tag) {
    case "Put":
    case "Deleted":
      return `{"id":${id},"ok":true,"version":${outcome.version}}`
    case "Got":
      return `{"id":${id},"ok":true,"value":${outcome.json ?? "null"},"version":${outcome.version}}`
    case "Listed":
      return `{"id":${id},"ok":true,"keys":${JSON.stringify(outcome.list.keys)},"next":${JSON.stringify(outcome.list.next)}}`
    case "None":
      return `{"id":${id},"ok":true}`
    case "Failed":
      return failure(id, outcome.code, outcome.message)
  }
}

export const failure = (id: string, code: ErrorCode, message: string): string =>
  `{"id":${id},"ok":false,"error":{"code":"${code}","message":${JSON.stringify(message)}}}`

export const event = ({ event, key, json, version }: Change): string =>
  json === null
    ? `{"event":"${event}","key":${JSON.stringify(key)},"version":${version}}`
    : `{"event":"${event}","key":${JSON.stringify(key)},"value":${json},"version":${version}}`
