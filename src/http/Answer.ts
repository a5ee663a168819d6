/**
 * A whole response as a value: what the router and the small handlers beside the API answer with. Errors are
 * `application/problem+json` (RFC 9457) with a stable `code`.
 */
import * as HttpServerResponse from "effect/http/HttpServerResponse"

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable"
}

const titleOf = (status: number): string => titles[status] ?? (status < 500 ? "Bad Request" : "Server Error")

/** `https://…` addresses would promise a page: the type is a name, as RFC 9457 allows. */
export const problemType = (code: string): string => `urn:valet:problem:${code}`

export const problem = (input: {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>>
  readonly members?: Readonly<Record<string, string | number | ReadonlyArray<string>>>
}): Answer => ({
  status: input.status,
  headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...input.headers },
  body: JSON.stringify({
    type: problemType(input.code),
    title: titleOf(input.status),
    status: input.status,
    detail: input.detail,
    code: input.code,
    ...input.members
  })
})

export const json = (value: unknown, status = 200): Answer => ({
  status,
  headers: { "content-type": "application/json", "cache-control": "no-store" },
  body: JSON.stringify(value)
})

export const withHeaders = (answer: Answer, headers: Readonly<Record<string, string>>): Answer => ({
  ...answer,
  headers: { ...answer.headers, ...headers }
})

export const toResponse = (answer: Answer): HttpServerResponse.HttpServerResponse =>
  answer.body === ""
    ? HttpServerResponse.empty({ status: answer.status, headers: answer.headers })
    : HttpServerResponse.text(answer.body, {
        status: answer.status,
        headers: answer.headers,
        contentType: answer.headers["content-type"] ?? "text/plain; charset=utf-8"
      })
