/** What the HTTP side says: a status, headers and a text; errors as RFC 9457 problems with a stable `code`. */
import type { ServerResponse } from "node:http"

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** A page elsewhere may use the documents; there are no cookies that this could betray. */
export const cors = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "etag"
} as const

export const preflight = (requested: string | undefined): Answer => ({
  status: 204,
  headers: {
    ...cors,
    "access-control-allow-methods": "GET, HEAD, PUT, DELETE, POST, OPTIONS",
    "access-control-allow-headers": requested ?? "authorization, content-type, if-match, if-none-match",
    "access-control-max-age": "86400"
  },
  body: ""
})

export const json = (status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer =>
  jsonText(status, JSON.stringify(value), headers)

export const jsonText = (status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { ...cors, "content-type": "application/json", ...headers },
  body
})

export const empty = (status: number, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { ...cors, ...headers },
  body: ""
})

export const problem = (
  status: number,
  code: string,
  detail: string,
  headers: Readonly<Record<string, string>> = {}
): Answer => ({
  status,
  headers: { ...cors, "content-type": "application/problem+json", ...headers },
  body: JSON.stringify({ type: "about:blank", status, code, detail })
})

export const notFound = problem(404, "not_found", "there is nothing here")

export const methodNotAllowed = (allow: string): Answer =>
  problem(405, "method_not_allowed", `allowed: ${allow}`, { allow })

export const send = (response: ServerResponse, answer: Answer, head = false): void => {
  if (response.headersSent || response.destroyed) return
  const length =
    answer.status === 204 || answer.status === 304 ? {} : { "content-length": Buffer.byteLength(answer.body) }
  response.writeHead(answer.status, { ...answer.headers, ...length })
  response.end(head ? undefined : answer.body)
}

const reasons: Readonly<Record<number, string>> = {
  307: "Temporary Redirect",
  404: "Not Found",
  503: "Service Unavailable"
}

/** To an upgrade request, whose socket is nobody's but ours: the connection ends with the answer. */
export const rawText = ({ status, headers, body }: Answer): string =>
  [
    `HTTP/1.1 ${status} ${reasons[status] ?? "Bad Request"}`,
    ...Object.entries({ ...headers, "content-length": String(Buffer.byteLength(body)), connection: "close" }).map(
      ([name, value]) => `${name}: ${value}`
    ),
    "",
    body
  ].join("\r\n")
