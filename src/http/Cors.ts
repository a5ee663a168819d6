/**
 * Cross-origin access: the API needs no cookies, so every origin may read its answers. Credentials are never allowed, a
 * bearer has to be sent by hand.
 */
import type { Answer } from "./Answer.ts"

const methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

/** Readable by a page of another origin, beside the few that always are. */
const exposed = "retry-after, server-timing, x-valet-state, allow, location"

export const corsHeaders = (origin: string | undefined): Readonly<Record<string, string>> => ({
  "access-control-allow-origin": origin ?? "*",
  "access-control-expose-headers": exposed,
  vary: "origin"
})

/** 204 to any OPTIONS, on every host: the project's own server is not woken for it. */
export const preflight = (input: {
  readonly origin: string | undefined
  readonly requestedHeaders: string | undefined
}): Answer => ({
  status: 204,
  headers: {
    "access-control-allow-origin": input.origin ?? "*",
    "access-control-allow-methods": methods,
    "access-control-allow-headers": input.requestedHeaders ?? "authorization, content-type, idempotency-key",
    "access-control-max-age": "86400",
    vary: "origin, access-control-request-headers"
  },
  body: ""
})
