/** One request on its way to a project's server and back. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Agents from "../proxy/Agents.ts"
import * as Deadlines from "../proxy/Deadlines.ts"
import type { Downstream, Joined } from "../proxy/Downstream.ts"
import type { Upload } from "../proxy/Upload.ts"
import * as Upstream from "../proxy/Upstream.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { ProxyError, type Reason } from "./ProxyError.ts"
import { Supervisor, type Unavailable, type Use } from "./Supervisor.ts"

export interface Forwarding {
  readonly use: Use
  readonly method: string
  readonly path: string
  /** Complete but for `Connection`. */
  readonly headers: ReadonlyArray<string>
  /** Other projects, and the orchestrator itself, are at the same origin. */
  readonly sharesOrigin: boolean
  readonly client: Downstream
  readonly upload: Upload
}

export interface Proxy {
  /**
   * Runs until the answer is with the client; fails only before the answer began. For an upgrade what is left to do is
   * its value, and the scope has to stay open until that is done.
   */
  forward(forwarding: Forwarding): Effect.Effect<Joined | undefined, ProxyError | Unavailable, Scope.Scope>
}

/** On one machine: a server that takes longer has stopped accepting. */
const connectTimeoutMs = 5_000
/** A server that was ready and is gone again is given two more chances. */
const reconnects = 2
const reconnectEvery = "100 millis"

/** May be sent twice (RFC 9110 section 9.2.2), and have no body that would have to be. */
const repeatable = new Set(["GET", "HEAD", "OPTIONS"])

/** With it a page could put itself before all that its origin serves, the orchestrator's own page included. */
const widensScope = (name: string) => name === "service-worker-allowed"

const failed = (reason: Reason, detail: string) => Effect.fail(new ProxyError({ reason, detail }))

export const make: Effect.Effect<Proxy, never, OrchestratorConfig | Supervisor | Scope.Scope> = Effect.gen(
  function* () {
    const { responseTimeoutMs, spawnTimeoutMs } = yield* OrchestratorConfig
    const supervisor = yield* Supervisor
    const agents = yield* Agents.make
    const deadlines = yield* Deadlines.make(agents.sweep)

    /** `keep`: on a connection that may have been used before. */
    const once = ({ client, headers, method, path, sharesOrigin, upload, use }: Forwarding, keep: boolean) =>
      Effect.gen(function* () {
        const { pid, port } = yield* supervisor.use(use)
        const upgrade = use.kind === "connection"
        const { answer, connected, giveUp, request } = yield* Upstream.open(
          { host: "127.0.0.1", port, method, path, headers, upgrade },
          keep ? agents.of({ pid, port }) : false
        )
        const deadline = deadlines.start(connectTimeoutMs, giveUp)
        const answered = yield* Effect.gen(function* () {
          yield* Effect.catchTag(connected, "TimedOut", () =>
            failed("connect_timeout", `no connection in ${connectTimeoutMs} ms`)
          )
          // Counted anew from the last that arrived of the request.
          upload.onProgress = () => deadline.extend(responseTimeoutMs)
          upload.onProgress()
          request.on("continue", client.sendContinue)
          request.on("information", ({ headers: { link }, statusCode }) => {
            if (statusCode === 103 && link !== undefined) client.sendHints(link)
          })
          upload.sendTo(request)
          return yield* Effect.catchTag(answer, "TimedOut", () =>
            failed(upload.starved() ? "request_timeout" : "response_timeout", `nothing for ${responseTimeoutMs} ms`)
          )
        }).pipe(Effect.ensuring(Effect.sync(deadline.end)))
        if (answered._tag === "Upgraded") return yield* client.accept(answered)
        const responded = client.respond(answered.response, sharesOrigin ? widensScope : undefined)
        return yield* Effect.as(responded, undefined)
      }).pipe(Effect.ensuring(Effect.sync(upload.discard)))

    /** Whatever it took is given back, unless two connections were joined. */
    const attempt = (forwarding: Forwarding, keep: boolean) =>
      Effect.flatMap(Effect.scope, (outer) => {
        const scope = Scope.forkUnsafe(outer)
        return once(forwarding, keep).pipe(
          Scope.provide(scope),
          Effect.onExit((exit) =>
            exit._tag === "Success" && exit.value !== undefined ? Effect.void : Scope.close(scope, exit)
          )
        )
      })

    const forward: Proxy["forward"] = (forwarding) => {
      const keep = repeatable.has(forwarding.method) && forwarding.upload.empty && forwarding.use.kind === "request"
      return attempt(forwarding, keep).pipe(
        Effect.catchIf(
          (error) => error._tag === "Broken" && error.stale,
          () => attempt(forwarding, false)
        ),
        Effect.retry({
          while: (error) => error._tag === "NotConnected",
          schedule: Schedule.max([Schedule.spaced(reconnectEvery), Schedule.recurs(reconnects)]).pipe(
            Schedule.upTo({ duration: spawnTimeoutMs })
          )
        }),
        Effect.catchTags({
          NotConnected: ({ detail }) => failed("unreachable", detail),
          Broken: ({ detail }) => failed("bad_answer", detail),
          Unpassable: ({ detail }) => failed("bad_answer", detail),
          Unsendable: ({ detail }) => failed("bad_request", detail)
        })
      )
    }
    return { forward }
  }
)
