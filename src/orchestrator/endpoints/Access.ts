/** Who may ask for what. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { IncomingMessage } from "node:http"
import { bearerOf, sameSecret } from "../../http/api/Credentials.ts"
import { CurrentCaller, isFromThisMachine } from "./CurrentCaller.ts"
import { notFound, Refused } from "./Refused.ts"

export const unauthorized = new Refused({
  status: 401,
  code: "unauthorized",
  detail: "A valid bearer token is needed.",
  headers: { "www-authenticate": `Bearer realm="valet"` }
})

/** The admin token, wherever the request comes from. */
export const operator = (adminToken: Redacted.Redacted) =>
  Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const bearer = bearerOf(headers["authorization"])
    if (bearer === undefined || !sameSecret(bearer, adminToken)) return yield* unauthorized
  })

/** For what only tells: this machine's own users need no token. */
export const reader = (adminToken: Redacted.Redacted) =>
  Effect.flatMap(CurrentCaller, (caller) => (caller.local ? Effect.void : operator(adminToken)))

/** Nobody else learns that there is anything. */
export const sameMachine = Effect.gen(function* () {
  const incoming = NodeHttpServerRequest.toIncomingMessage(yield* HttpServerRequest.HttpServerRequest)
  if (!(incoming instanceof IncomingMessage) || !isFromThisMachine(incoming)) return yield* notFound
})

const hostOf = (url: string): string | undefined => (URL.canParse(url) ? new URL(url).host : undefined)

/** A page of another site may not have its reader's browser change anything here. */
export const ownOrigin = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const { origin } = headers
  if (origin === undefined) return
  const caller = yield* CurrentCaller
  const scheme = origin.startsWith("https://") ? "https://" : "http://"
  const own = caller.host === null ? undefined : hostOf(scheme + caller.host)
  if (own === undefined || hostOf(origin) !== own) {
    return yield* new Refused({ status: 403, code: "foreign_origin", detail: "Not from a page of another site." })
  }
})
