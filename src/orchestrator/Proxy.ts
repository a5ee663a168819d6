/** One request on its way to a project's server and back. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Deadlines from "../proxy/Deadlines.ts"
import { type Downstream, type Joined, Unpassable } from "../proxy/Downstream.ts"
import * as Kept from "../proxy/Kept.ts"
import * as Switch from "../proxy/Switch.ts"
import type { Upload } from "../proxy/Upload.ts"
import * as Upstream from "../proxy/Upstream.ts"
import { Broken, NotConnected, type Unsendable } from "../proxy/Upstream.ts"
import { OrchestratorConfig } from "./OrchestratorConfig.ts"
import { ProxyError, type Reason } from "./ProxyError.ts"
import { type Held, Supervisor, type Unavailable, type Use } from "./Supervisor.ts"

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
  forward(
    forwarding: Forwarding,
    /** How a first attempt went that was made without it. */
    first?: Failure
  ): Effect.Effect<Joined | undefined, ProxyError | Unavailable, Scope.Scope>
  /**
   * The same by callbacks, for a request without a body that may be sent twice, or an upgrade; undefined where the server
   * does not run. Tells that the answer is with the client, or how it failed before it began. What it returns is for a
   * client that goes away.
   */
  tryForward(forwarding: Forwarding, ended: () => void, failed: (failure: Failure) => void): (() => void) | undefined
}

export type Failure = Broken | NotConnected | ProxyError | Unpassable | Unsendable

/** On one machine: a server that takes longer has stopped accepting. */
const connectTimeoutMs = 5_000
/** A server that was ready and is gone again is given two more chances. */
const reconnects = 2
const reconnectEvery = "100 millis"

/** May be sent twice (RFC 9110 section 9.2.2), and have no body that would have to be. */
export const repeatable: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])

/** With it a page could put itself before all that its origin serves, the orchestrator's own page included. */
const widensScope = (name: string) => name === "service-worker-allowed"

const failure = (reason: Reason, detail: string) => new ProxyError({ reason, detail })
const failed = (reason: Reason, detail: string) => Effect.fail(failure(reason, detail))
const noConnection = () => failure("connect_timeout", `no connection in ${connectTimeoutMs} ms`)

/** What is left of a use when its answer has begun: an upgraded connection may hold on to it for days. */
const over =
  ({ release }: Held, ended: () => void) =>
  () => {
    release()
    ended()
  }

export const make: Effect.Effect<Proxy, never, OrchestratorConfig | Supervisor | Scope.Scope> = Effect.gen(
  function* () {
    const { responseTimeoutMs, spawnTimeoutMs } = yield* OrchestratorConfig
    const supervisor = yield* Supervisor
    const kept = yield* Kept.make
    const deadlines = yield* Deadlines.make(kept.sweep)

    const once = ({ client, headers, method, path, sharesOrigin, upload, use }: Forwarding) =>
      Effect.gen(function* () {
        const { port } = yield* supervisor.use(use)
        const upgrade = use.kind === "connection"
        const { answer, connected, giveUp, request } = yield* Upstream.open(
          { host: "127.0.0.1", port, method, path, headers, upgrade },
          false
        )
        const deadline = deadlines.start(connectTimeoutMs, giveUp)
        const answered = yield* Effect.gen(function* () {
          yield* Effect.catchTag(connected, "TimedOut", () => Effect.fail(noConnection()))
          // Counted anew from the last that arrived of the request.
          upload.onProgress = () => deadline.extend(responseTimeoutMs)
          upload.onProgress()
          request.on("continue", client.sendContinue)
          Upstream.onHints(request, client.sendHints)
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
    const attempt = (forwarding: Forwarding) =>
      Effect.flatMap(Effect.scope, (outer) => {
        const scope = Scope.forkUnsafe(outer)
        return once(forwarding).pipe(
          Scope.provide(scope),
          Effect.onExit((exit) =>
            exit._tag === "Success" && exit.value !== undefined ? Effect.void : Scope.close(scope, exit)
          )
        )
      })

    const forward: Proxy["forward"] = (forwarding, first) => {
      let made = first
      const begin = Effect.suspend(() => {
        if (made === undefined) return attempt(forwarding)
        const failure = made
        made = undefined
        return Effect.fail(failure)
      })
      return begin.pipe(
        Effect.catchIf(
          (error) => error._tag === "Broken" && error.stale,
          () => attempt(forwarding)
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

    const tryForward: Proxy["tryForward"] = (forwarding, ended, failed) => {
      const { client, headers, method, path, sharesOrigin, use } = forwarding
      const held = supervisor.tryUse(use)
      if (held === undefined) return undefined
      const drops = sharesOrigin ? widensScope : undefined
      let connected = false
      let begun = false
      let giveUp = () => {}
      /** The answer begins, or there is none. */
      const begin = () => {
        begun = true
        deadline.end()
      }
      const end = (failure?: Failure) => {
        if (begun) return
        begin()
        held.release()
        if (failure === undefined) ended()
        else failed(failure)
      }
      const deadline = deadlines.start(connectTimeoutMs, () => {
        end(connected ? failure("response_timeout", `nothing for ${responseTimeoutMs} ms`) : noConnection())
        giveUp()
      })
      const passed = (answer: Upstream.Answer) => {
        if (begun) return
        const cut = client.pass(answer, drops, over(held, ended))
        if (typeof cut === "function") {
          begin()
          giveUp = cut
          return
        }
        end(cut)
        giveUp()
      }
      const events = {
        connected: () => {
          connected = true
          deadline.extend(responseTimeoutMs)
        },
        hints: client.sendHints,
        failed: (detail: string, stale: boolean) =>
          // An error costs its stack.
          begun || end(connected ? new Broken({ detail, stale }) : new NotConnected({ detail }))
      }
      const gaveUp = () => {
        end()
        giveUp()
      }
      const request = { method, path, headers }
      const exchanged = () =>
        kept.exchange(held.target, request, {
          ...events,
          answeredByNode: passed,
          answered: (head) => {
            const to = client.begin(head, drops)
            if (to instanceof Unpassable) {
              end(to)
              return undefined
            }
            begin()
            to.once("close", over(held, ended))
            return to
          }
        })
      const upgraded = () =>
        Switch.ask(held.target.port, request, {
          ...events,
          answered: passed,
          failed: (detail) => events.failed(detail, false)
        })
      const cut = use.kind === "connection" ? upgraded() : exchanged()
      if (cut === undefined) end(Upstream.unsendable("the request can't be written down"))
      else giveUp = cut
      return gaveUp
    }
    return { forward, tryForward }
  }
)
