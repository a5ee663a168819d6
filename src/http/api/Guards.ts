/**
 * What stands around every handler of the plane's own paths: upgrades, wrong methods, bodies too large, and whatever a
 * handler did not answer itself. All of it ends as a problem with a stable code.
 */
import * as ByteSize from "effect/ByteSize"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import { isHttpServerError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Api, limits } from "../../contract/Api.ts"
import { token } from "../../programs/Ids.ts"
import { type Answer, problem, toResponse } from "../Answer.ts"
import { corsHeaders } from "../Cors.ts"

/** Paths beside the API: all of them are read only. */
export const pagePaths = ["/", "/metrics", "/health/ready", "/api/docs", "/api/openapi.json"] as const

const methodTable: ReadonlyArray<readonly [pattern: RegExp, methods: ReadonlySet<string>]> = (() => {
  const byPath = new Map<string, Set<string>>(pagePaths.map((path) => [path, new Set(["GET"])]))
  HttpApi.reflect(Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      const methods = byPath.get(endpoint.path) ?? new Set()
      byPath.set(endpoint.path, methods.add(endpoint.method))
    }
  })
  return [...byPath].map(([path, methods]) => {
    if (methods.has("GET")) methods.add("HEAD")
    const source = path.replace(/\/$/, "").replace(/:[a-z_]+/g, "[^/]+")
    return [new RegExp(`^${source}/?$`), methods.add("OPTIONS")] as const
  })
})()

/** 405 for a path that exists with other methods; 404 for the rest is the router's of the API. */
const wrongMethod = (method: string, path: string): Answer | undefined => {
  const found = methodTable.filter(([pattern]) => pattern.test(path))
  if (found.length === 0 || found.some(([, methods]) => methods.has(method))) return undefined
  const allow = [...new Set(found.flatMap(([, methods]) => [...methods]))].toSorted().join(", ")
  return problem({
    status: 405,
    code: "method_not_allowed",
    detail: `Allowed here: ${allow}.`,
    headers: { allow }
  })
}

const tooLarge = problem({
  status: 413,
  code: "payload_too_large",
  detail: `A body has at most ${limits.maxBodyBytes} bytes.`,
  // What is left of the body would otherwise have to be read before the next request.
  headers: { connection: "close" }
})

const notFound = problem({ status: 404, code: "not_found", detail: "There is nothing at this path." })

const noUpgrade = problem({
  status: 404,
  code: "not_found",
  detail: "Nothing at this path speaks another protocol.",
  headers: { connection: "close" }
})

const refusedEarly = (request: HttpServerRequest.HttpServerRequest): Answer | undefined => {
  if (request.headers["upgrade"] !== undefined) return noUpgrade
  const [path = "/"] = request.url.split(/[?#]/)
  if (Number(request.headers["content-length"] ?? 0) > limits.maxBodyBytes) return tooLarge
  return wrongMethod(request.method, path)
}

const codes: Readonly<Record<number, string>> = {
  400: "invalid_request",
  401: "unauthorized",
  404: "not_found",
  413: "payload_too_large",
  415: "unsupported_media_type"
}

const isProblem = (response: HttpServerResponse.HttpServerResponse): boolean =>
  (response.headers["content-type"] ?? "").startsWith("application/problem+json")

/** Errors that the framework words itself get our shape. */
const inOurWords = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  response.status < 400 || isProblem(response)
    ? response
    : toResponse(
        problem({
          status: response.status,
          code: codes[response.status] ?? "error",
          detail:
            response.status === 415 ? "Bodies are application/json." : "The request could not be answered as it is."
        })
      )

/** The person who sees the id and the one who reads the log can tell each other which failure they mean. */
const defect = Effect.fnUntraced(function* (cause: Cause.Cause<unknown>) {
  const errorId = yield* token(12)
  yield* Effect.logError(`request failed, error id ${errorId}`, cause)
  return toResponse(
    problem({
      status: 500,
      code: "internal_error",
      detail: "Something went wrong on our side.",
      members: { error_id: errorId }
    })
  )
})

const answered = (cause: Cause.Cause<unknown>) => {
  for (const reason of cause.reasons) {
    const error = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    if (isHttpServerError(error) && error.reason._tag === "RouteNotFound") return Effect.succeed(toResponse(notFound))
    if (isHttpServerError(error) && error.reason._tag === "RequestParseError") {
      return Effect.succeed(
        toResponse(
          error.reason.reason === "BodyTooLarge"
            ? tooLarge
            : problem({ status: 400, code: "invalid_request", detail: "The body could not be read." })
        )
      )
    }
  }
  return Cause.hasInterruptsOnly(cause) ? Effect.interrupt : defect(cause)
}

/** Of the API's documents, whose viewer is inline: it may talk to this host alone. */
const documentPolicy =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; worker-src blob:; base-uri 'none'; frame-ancestors 'none'"

const isUnguardedPage = (response: HttpServerResponse.HttpServerResponse): boolean =>
  (response.headers["content-type"] ?? "").startsWith("text/html") &&
  response.headers["content-security-policy"] === undefined

const dressed = (response: HttpServerResponse.HttpServerResponse, origin: string | undefined) =>
  HttpServerResponse.setHeaders(response, {
    ...corsHeaders(origin),
    ...(response.status === 401 ? { "www-authenticate": `Bearer realm="valet"` } : {}),
    ...(isUnguardedPage(response) ? { "content-security-policy": documentPolicy } : {}),
    ...(response.headers["cache-control"] === undefined ? { "cache-control": "no-store" } : {})
  })

/** Failures and defects as answers. */
export const withProblems = <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.catchCause(handler, (cause) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      return dressed(yield* answered(cause), request.headers["origin"])
    })
  )

export const guarded = <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const early = refusedEarly(request)
    const response = early === undefined ? yield* Effect.map(handler, inOurWords) : toResponse(early)
    return dressed(response, request.headers["origin"])
  }).pipe(Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(limits.maxBodyBytes)))
