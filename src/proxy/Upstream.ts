/** One request to one target, in two steps: connected, which is all that a replay promises, and answered. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import type { Flat } from "./Headers.ts"
import { ownConnections } from "./OwnConnections.ts"

/** No connection: nothing was sent. */
export class NotConnected extends Schema.TaggedError<NotConnected>()("NotConnected", { detail: Schema.String }) {}
/** The connection ended before an answer. `stale`: it had been kept from an earlier request, and was closed meanwhile. */
export class Broken extends Schema.TaggedError<Broken>()("Broken", { detail: Schema.String, stale: Schema.Boolean }) {}
/** Given up. */
export class TimedOut extends Schema.TaggedError<TimedOut>()("TimedOut", {}) {
  override get message() {
    return "not in time"
  }
}
/** Node refuses to write the request down. */
export class Unsendable extends Schema.TaggedError<Unsendable>()("Unsendable", { detail: Schema.String }) {}

export interface Target {
  readonly host: string
  readonly port: number
  readonly method: string
  readonly path: string
  /** Complete, with Host and framing; only `Connection` is added. */
  readonly headers: Flat
  readonly upgrade: boolean
}

export interface Upgraded {
  readonly _tag: "Upgraded"
  readonly response: { readonly statusMessage?: string | undefined; readonly rawHeaders: Flat }
  readonly socket: net.Socket
  readonly head: Buffer
}

export type Answer = { readonly _tag: "Response"; readonly response: http.IncomingMessage } | Upgraded

export interface Connection {
  /** Nothing is sent before its first write or its end. */
  readonly request: http.ClientRequest
  readonly answer: Effect.Effect<Answer, Broken>
  /** The target says that it wants the body. */
  readonly continued: Effect.Effect<void>
}

/** A connection that may not stand yet. */
export interface Opening {
  readonly request: http.ClientRequest
  readonly connected: Effect.Effect<void, NotConnected | TimedOut>
  readonly answer: Effect.Effect<Answer, Broken | TimedOut>
  /** Whoever waits for the connection or the answer waits no longer. */
  readonly giveUp: () => void
}

export const reason = (error: Error) => ("code" in error ? `${String(error.code)}: ${error.message}` : error.message)

/** An upgraded connection outlives the request, and its ends close one by one; so it is never pooled. */
const halfOpen = ({ host, port }: Target) =>
  net.connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs })
/** Of silence, until the system asks whether the peer is still there. */
const keepAliveMs = 30_000

/** What becomes of a request. */
export interface Events {
  /** The connection stands. */
  readonly connected: () => void
  /** At most once. */
  readonly answered: (answer: Answer) => void
  /** There will be no answer; may be told more than once. */
  readonly failed: (detail: string) => void
}

/**
 * Begins to connect; throws where Node refuses to write the request down. `agent` keeps connections for requests that may
 * be sent twice; without one the connection is the request's own.
 */
export const send = (target: Target, agent: http.Agent | false, events: Events): http.ClientRequest => {
  const { headers, host, method, path, port, upgrade } = target
  const request = http.request({
    host,
    port,
    method,
    path,
    // Also where the connection is the request's own: a server that answers early and closes would reset the
    // connection under a body that is still coming, and its answer would be lost with it.
    headers: upgrade ? headers : [...headers, "Connection", "keep-alive"],
    ...(upgrade && agent === false
      ? { createConnection: () => halfOpen(target) }
      : { agent: agent === false ? ownConnections : agent })
  })
  let answered = false
  const fail = (detail: string) => {
    // Also the end of each answered request comes by here.
    if (!answered) events.failed(detail)
  }
  request.once("socket", (socket) => {
    if (socket.connecting) socket.once("connect", events.connected)
    else events.connected()
  })
  request.on("response", (response) => {
    answered = true
    response.on("error", ignore)
    events.answered({ _tag: "Response", response })
  })
  request.on("upgrade", (response, socket, head) => {
    answered = true
    socket.on("error", ignore)
    events.answered({ _tag: "Upgraded", response, socket, head })
  })
  // Stays for good: a request that was answered, or given up, may still fail.
  request.on("error", (error) => fail(reason(error)))
  request.on("close", () => fail("connection closed before an answer"))
  return request
}

/** What it may say before its answer (103). */
export const onHints = (request: http.ClientRequest, hint: (link: string | Array<string>) => void) =>
  request.on("information", ({ headers: { link }, statusCode }) => {
    if (statusCode === 103 && link !== undefined) hint(link)
  })

export const unsendable = (cause: unknown) => new Unsendable({ detail: String(cause) })

/** What ends with the scope. */
interface Held {
  by: http.ClientRequest | net.Socket | undefined
}

/** Here, where it holds on to nothing else: an upgraded connection may be open for days. */
const releasing = (held: Held) => () => Effect.sync(() => held.by?.destroy())

/** Likewise. */
const ignore = () => {}

/** As `send`; the request and its connection end with the scope, unless the answer was read to its end. */
export const open = (target: Target, agent: http.Agent | false): Effect.Effect<Opening, Unsendable, Scope.Scope> =>
  Effect.suspend(() => {
    const connected = Deferred.makeUnsafe<void, NotConnected | TimedOut>()
    const answer = Deferred.makeUnsafe<Answer, Broken | TimedOut>()
    const held: Held = { by: undefined }
    const start = () => {
      const request = send(target, agent, {
        connected: () => Deferred.doneUnsafe(connected, Exit.void),
        answered: (it) => {
          if (it._tag === "Upgraded") held.by = it.socket
          Deferred.doneUnsafe(answer, Exit.succeed(it))
        },
        failed: (detail) => {
          // An error costs its stack.
          if (Deferred.isDoneUnsafe(answer)) return
          Deferred.doneUnsafe(connected, Exit.fail(new NotConnected({ detail })))
          Deferred.doneUnsafe(answer, Exit.fail(new Broken({ detail, stale: request.reusedSocket })))
        }
      })
      held.by = request
      return request
    }
    const started = Effect.try({ try: start, catch: unsendable })
    return Effect.addFinalizer(releasing(held)).pipe(
      Effect.andThen(started),
      Effect.map((request) => ({
        request,
        connected: Deferred.await(connected),
        answer: Deferred.await(answer),
        giveUp: () => {
          Deferred.doneUnsafe(connected, Exit.fail(new TimedOut()))
          Deferred.doneUnsafe(answer, Exit.fail(new TimedOut()))
        }
      }))
    )
  })

/** As `open`, once the connection stands. */
export const connect = (
  target: Target,
  agent: http.Agent | false
): Effect.Effect<Connection, NotConnected | Unsendable, Scope.Scope> =>
  Effect.gen(function* () {
    const { answer, connected, request } = yield* open(target, agent)
    const continued = Deferred.makeUnsafe<void>()
    request.on("continue", () => Deferred.doneUnsafe(continued, Exit.void))
    // Nobody here gives up.
    yield* Effect.catchTag(connected, "TimedOut", Effect.die)
    return { request, answer: Effect.catchTag(answer, "TimedOut", Effect.die), continued: Deferred.await(continued) }
  })

/** The answer's body where it is at most `limitBytes`; a longer one ends the connection. Frees the connection for reuse. */
export const readBody = (response: http.IncomingMessage, limitBytes: number): Effect.Effect<string | undefined> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    response.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size > limitBytes) response.destroy()
      else chunks.push(chunk)
    })
    response.once("end", () => resume(Effect.succeed(Buffer.concat(chunks).toString("utf8"))))
    response.once("close", () => resume(Effect.undefined))
    return Effect.sync(() => response.destroy())
  })
