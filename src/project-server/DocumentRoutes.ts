/** Documents over HTTP: `/documents/<key>` and `/documents?prefix=&after=&limit=`. Versions are entity tags. */
import type { IncomingMessage } from "node:http"
import * as Effect from "effect/Effect"
import { exceedsBytes, limits, type ErrorCode } from "../contract/Documents.ts"
import * as Answer from "./Answer.ts"
import * as Body from "./Body.ts"
import { DocumentStore, type Condition, type Outcome } from "./DocumentStore.ts"
import * as Frames from "./Frames.ts"

const statuses: Readonly<Record<ErrorCode, number>> = {
  bad_request: 400,
  conflict: 412,
  too_large: 413,
  sealed: 503,
  internal: 500
}

const failed = (code: ErrorCode, detail: string): Answer.Answer => Answer.problem(statuses[code], code, detail)
const badRequest = (detail: string) => failed("bad_request", detail)

const tag = (version: number) => ({ etag: `"${version}"` })

/** `"3", "5"` → 3 and 5. A weak or foreign tag matches nothing, as If-Match compares strongly (RFC 9110, 13.1.1). */
const versionsOf = (header: string): ReadonlyArray<number> =>
  header.split(",").flatMap((part) => {
    const version = /^"([1-9]\d{0,15})"$/.exec(part.trim())?.[1]
    return version === undefined ? [] : [Number(version)]
  })

/** `problem`: a precondition that this server does not have. */
export const conditionOf = (
  headers: IncomingMessage["headers"]
): { readonly condition: Condition | undefined } | { readonly problem: string } => {
  const match = headers["if-match"]
  const noneMatch = headers["if-none-match"]
  if (noneMatch !== undefined) {
    return noneMatch.trim() === "*" && match === undefined
      ? { condition: [0] }
      : { problem: "a write takes If-Match, or If-None-Match: *" }
  }
  if (match === undefined) return { condition: undefined }
  return { condition: match.trim() === "*" ? "exists" : versionsOf(match) }
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const notModified = (request: IncomingMessage, version: number): boolean => {
  const header = request.headers["if-none-match"]
  if (header === undefined || version === 0) return false
  return header.trim() === "*" || versionsOf(header.replaceAll("W/", "")).includes(version)
}

const answerOf = (outcome: Outcome, key: string, request: IncomingMessage): Answer.Answer => {
  switch (outcome._tag) {
    case "Put":
      return Answer.json(outcome.created ? 201 : 200, { key, version: outcome.version }, tag(outcome.version))
    case "Got":
      if (outcome.json === null) return Answer.problem(404, "not_found", "there is no such document")
      if (notModified(request, outcome.version)) return Answer.empty(304, tag(outcome.version))
      return Answer.jsonText(200, outcome.json, { ...tag(outcome.version), "cache-control": "no-cache" })
    case "Deleted":
    case "None":
      return Answer.empty(204)
    case "Listed":
      return Answer.json(200, outcome.list, { "cache-control": "no-cache" })
    case "Failed":
      return failed(outcome.code, outcome.message)
  }
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const put = Effect.fnUntraced(
  function* (key: string, condition: Condition | undefined, request: IncomingMessage) {
    const store = yield* DocumentStore
    const json = (yield* Body.text(request, limits.maxValueBytes)).trim()
    if (!isJson(json)) return badRequest("the body is not JSON")
    return answerOf(yield* store.run({ op: "put", key, json, condition }), key, request)
  },
  Effect.catchTag("BodyError", (error) =>
    Effect.succeed(
      error.reason === "TooLarge"
        ? {
            ...failed("too_large", Frames.valueTooLarge),
            headers: { ...failed("too_large", "").headers, connection: "close" }
          }
        : badRequest(error.message)
    )
  )
)

/** `encodedKey`: the path behind `/documents/`. */
export const document = Effect.fnUntraced(function* (encodedKey: string, request: IncomingMessage) {
  const store = yield* DocumentStore
  const key = decoded(encodedKey)
  if (key === undefined || key === "" || key.includes("\0")) return badRequest("the key is not percent-encoded UTF-8")
  if (exceedsBytes(key, limits.maxKeyBytes)) return failed("too_large", Frames.keyTooLong)
  switch (request.method) {
    case "GET":
    case "HEAD":
      return answerOf(yield* store.run({ op: "get", key }), key, request)
    case "PUT":
    case "DELETE": {
      const wanted = conditionOf(request.headers)
      if ("problem" in wanted) return badRequest(wanted.problem)
      if (request.method === "PUT") return yield* put(key, wanted.condition, request)
      return answerOf(yield* store.run({ op: "delete", key, condition: wanted.condition }), key, request)
    }
    default:
      return Answer.methodNotAllowed("GET, HEAD, PUT, DELETE")
  }
})

export const list = Effect.fnUntraced(function* (query: string, request: IncomingMessage) {
  const store = yield* DocumentStore
  if (request.method !== "GET" && request.method !== "HEAD") return Answer.methodNotAllowed("GET, HEAD")
  const parameters = new URLSearchParams(query)
  const prefix = parameters.get("prefix") ?? ""
  const after = parameters.get("after") ?? ""
  const limit = parameters.get("limit") ?? String(limits.listDefault)
  if (exceedsBytes(prefix, limits.maxKeyBytes) || exceedsBytes(after, limits.maxKeyBytes)) {
    return failed("too_large", Frames.keyTooLong)
  }
  if (!/^[1-9]\d{0,3}$/.test(limit) || Number(limit) > limits.listMax) {
    return badRequest(`limit is a number from 1 to ${limits.listMax}`)
  }
  return answerOf(yield* store.run({ op: "list", prefix, after, limit: Number(limit) }), "", request)
})
