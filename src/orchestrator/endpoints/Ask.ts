/**
 * `GET /ask?domain=…`: may a certificate be had for this name? What Caddy asks before it gets one on demand, so that
 * nobody can make it ask for names that serve nothing.
 */
import * as Cache from "effect/Cache"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as ProjectId from "../../domain/ProjectId.ts"
import { json } from "../../http/Answer.ts"
import { OrchestratorConfig } from "../OrchestratorConfig.ts"
import { ProjectFolders } from "../ProjectFolders.ts"
import * as Access from "./Access.ts"
import type { Endpoint, Handler } from "./Endpoint.ts"
import { Refused } from "./Refused.ts"

/** Handshakes come in bursts for one name; a project added is served a moment later. */
const remembered = { capacity: 1_000, timeToLive: "5 seconds" } as const
/** Looks at the disk at a time: anybody who can connect to port 443 causes them. */
const maxLooks = 8

const busy = new Refused({
  status: 503,
  code: "overloaded",
  detail: "Too many names are being looked up.",
  headers: { "retry-after": "1" }
})

const noCertificate = new Refused({ status: 404, code: "not_served", detail: "Nothing is served at this name." })

/** A domain name as a client sends it in a handshake (RFC 6066): letters, digits, hyphens, dots; no port. */
const Domain = Schema.Struct({
  domain: Schema.String.check(Schema.isMaxLength(253), Schema.isPattern(/^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/i))
})

export const make = Effect.gen(function* () {
  const folders = yield* ProjectFolders
  const { domain } = yield* OrchestratorConfig
  const looks = yield* Semaphore.make(maxLooks)

  const isServed = (name: string): Effect.Effect<boolean> => {
    if (name === domain) return Effect.succeed(true)
    const id = name.endsWith(`.${domain}`) ? ProjectId.parse(name.slice(0, -domain.length - 1)) : undefined
    return id === undefined ? Effect.map(folders.ofHost(name), (listed) => listed !== undefined) : folders.serves(id)
  }
  const known = yield* Cache.makeWith(
    (name: string) =>
      Effect.flatMap(looks.withPermitsIfAvailable(1)(isServed(name)), (found) =>
        found._tag === "Some" ? Effect.succeed(found.value) : Effect.fail(busy)
      ),
    {
      capacity: remembered.capacity,
      timeToLive: (exit) => (Exit.isSuccess(exit) ? remembered.timeToLive : 0)
    }
  )

  const ask: Handler = Effect.gen(function* () {
    const { domain } = yield* Effect.mapError(
      HttpServerRequest.schemaSearchParams(Domain),
      () => new Refused({ status: 400, code: "invalid_request", detail: "domain is a domain name." })
    )
    if (!(yield* Cache.get(known, domain.toLowerCase()))) return yield* noCertificate
    return json({ domain })
  })
  const endpoint: Endpoint = { path: "/ask", gate: Access.sameMachine, methods: { GET: ask } }
  return endpoint
})
