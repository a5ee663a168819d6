/** One request on its way to a project's server and back. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import type { Downstream } from "../proxy/Downstream.ts"
import type { Upload } from "../proxy/Upload.ts"
import * as Upstream from "../proxy/Upstream.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { ProxyError } from "./ProxyError.ts"
import { Supervisor, type Target, type Unavailable, type Use } from "./Supervisor.ts"

export interface Forwarding {
  readonly use: Use
  readonly method: string
  readonly path: string
  /** Complete but for `Connection`. */
  readonly headers: ReadonlyArray<string>
  readonly client: Downstream
  readonly upload: Upload
}

export interface Proxy {
  /** Runs until the answer is with the client or the connection is over; fails only before the answer began. */
  forward(forwarding: Forwarding): Effect.Effect<void, ProxyError | Unavailable>
}

/** On one machine: a server that takes longer has stopped accepting. */
const connectTimeout = "5 seconds"
/** A server that was ready and is gone again is given two more chances. */
const reconnects = 2
const reconnectEvery = "100 millis"
/** Connections kept to one server. */
const maxIdleSockets = 64
const idleSocketMs = 30_000

/** May be sent twice (RFC 9110 section 9.2.2), and have no body that would have to be. */
const repeatable = new Set(["GET", "HEAD", "OPTIONS"])

export const make: Effect.Effect<Proxy, never, OrchestratorConfig | Supervisor | Scope.Scope> = Effect.gen(
  function* () {
    const { responseTimeoutMs, spawnTimeoutMs } = yield* OrchestratorConfig
    const supervisor = yield* Supervisor
    const clock = yield* Clock.Clock
    const nowMs = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

    /** By process: a new one on an old port never gets a connection of its predecessor. */
    const agents = yield* RcMap.make({
      lookup: (_process: string) =>
        Effect.acquireRelease(
          Effect.sync(() => new http.Agent({ keepAlive: true, maxFreeSockets: maxIdleSockets, timeout: idleSocketMs })),
          (agent) => Effect.sync(() => agent.destroy())
        ),
      idleTimeToLive: idleSocketMs
    })

    const connect = (forwarding: Forwarding, target: Target, keep: boolean) =>
      Effect.gen(function* () {
        const { headers, method, path, use } = forwarding
        const agent = keep ? yield* RcMap.get(agents, `${target.pid}:${target.port}`) : false
        const upgrade = use.kind === "connection"
        return yield* Upstream.connect({ host: "127.0.0.1", port: target.port, method, path, headers, upgrade }, agent)
      }).pipe(
        Effect.catchTag("Unsendable", ({ detail }) => Effect.fail(new ProxyError({ reason: "bad_request", detail }))),
        Effect.timeoutOrElse({
          duration: connectTimeout,
          orElse: () =>
            Effect.fail(new ProxyError({ reason: "connect_timeout", detail: `no connection in ${connectTimeout}` }))
        })
      )

    /** Counted from the last that arrived of the request. */
    const answerInTime = (answer: Upstream.Connection["answer"], upload: Upload, lastProgress: () => number) =>
      Effect.gen(function* () {
        if (responseTimeoutMs === 0) return yield* answer
        for (;;) {
          const left = lastProgress() + responseTimeoutMs - nowMs()
          if (left <= 0) {
            const reason = upload.starved() ? "request_timeout" : "response_timeout"
            return yield* new ProxyError({ reason, detail: `nothing for ${responseTimeoutMs} ms` })
          }
          const answered = yield* Effect.timeoutOption(answer, left)
          if (Option.isSome(answered)) return answered.value
        }
      })

    /** `keep`: on a connection that may have been used before. */
    const attempt = (forwarding: Forwarding, keep: boolean) =>
      Effect.gen(function* () {
        const { client, upload, use } = forwarding
        const target = yield* supervisor.use(use)
        const connection = yield* connect(forwarding, target, keep)
        let progressAt = nowMs()
        upload.onProgress = () => {
          progressAt = nowMs()
        }
        yield* Effect.addFinalizer(() => Effect.sync(upload.discard))
        const { request } = connection
        request.on("continue", client.sendContinue)
        upload.sendTo(request)
        const answer = yield* answerInTime(connection.answer, upload, () => progressAt)
        yield* answer._tag === "Upgraded" ? client.accept(answer) : client.respond(answer.response)
      }).pipe(
        Effect.scoped,
        Effect.catchTag("Unpassable", ({ detail }) => Effect.fail(new ProxyError({ reason: "bad_answer", detail })))
      )

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
          NotConnected: ({ detail }) => Effect.fail(new ProxyError({ reason: "unreachable", detail })),
          Broken: ({ detail }) => Effect.fail(new ProxyError({ reason: "bad_answer", detail }))
        })
      )
    }
    return { forward }
  }
)
