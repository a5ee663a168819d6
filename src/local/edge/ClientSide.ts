/** The client's half of an exchange: what it sent, and the ways to answer it. */
import * as Effect from "effect/Effect"
import { type IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { EdgeError } from "./EdgeError.ts"
import { values, type Flat } from "../../proxy/Headers.ts"
import * as Headers from "./Headers.ts"
import { relay } from "../../proxy/Relay.ts"
import { splice } from "../../proxy/Splice.ts"
import type { Answer } from "../../proxy/Upstream.ts"

export interface ClientSide {
  readonly method: string
  readonly path: string
  readonly headers: Flat
  readonly seen: Headers.Client
  readonly upgrade:
    | {
        readonly protocol: string
        readonly socket: Socket
        readonly takeOver: () => Buffer
      }
    | undefined
  /** It waits for a 100 that it was not sent yet. */
  expectsContinue(): boolean
  sendContinue(): void
  /** Streams a target's answer; ends with it, or when either side is gone. */
  respond(response: IncomingMessage): Effect.Effect<void, EdgeError>
  /** Hands a target's 101 on and joins the connections; ends when both are closed. */
  accept(upgraded: Extract<Answer, { _tag: "Upgraded" }>): Effect.Effect<void, EdgeError>
  /** An answer of the edge's own; cuts the connection if another one has begun. */
  refuse(error: EdgeError): void
  destroy(): void
}

export interface ClientSideOptions {
  readonly request: IncomingMessage
  /** Absent for an upgrade. */
  readonly response: ServerResponse | undefined
  readonly upgrade: ClientSide["upgrade"]
  readonly seen: Headers.Client
  readonly requestId: string
  readonly expectsContinue: boolean
  /** The listener is closing: its connections are not kept. */
  readonly closing: () => boolean
}

export const make = (options: ClientSideOptions): ClientSide => {
  const { request, upgrade, requestId } = options
  let expecting = options.expectsContinue
  let assigned = options.response

  /** After an upgrade request Node leaves the socket to its caller: a plain answer to it is the last on its connection. */
  const response = (): ServerResponse => {
    if (assigned !== undefined) return assigned
    const plain = new ServerResponse(request)
    assigned = plain
    if (upgrade !== undefined) {
      plain.on("error", () => {})
      plain.assignSocket(upgrade.socket)
      plain.once("finish", () => upgrade.socket.destroySoon())
    }
    return plain
  }

  /** Where a body that was never asked for may or may not follow, the next request can't be told from it. */
  const last = () => upgrade !== undefined || expecting || options.closing()

  const answerHeaders = (flat: Flat): Array<string> => {
    const kept = Headers.fromTarget(flat)
    return [...kept, "Via", Headers.via, "Fly-Request-Id", requestId]
  }

  const badAnswer = (cause: unknown) =>
    new EdgeError({ code: "PU02", detail: `answer can't be passed on: ${String(cause)}` })

  const respond: ClientSide["respond"] = (from) =>
    Effect.gen(function* () {
      const to = response()
      if (last()) to.shouldKeepAlive = false
      yield* Effect.try({
        try: () => to.writeHead(from.statusCode ?? 502, from.statusMessage ?? "", answerHeaders(from.rawHeaders)),
        catch: badAnswer
      })
      yield* relay(from, to)
    })

  return {
    method: request.method ?? "GET",
    path: request.url ?? "/",
    headers: request.rawHeaders,
    seen: options.seen,
    upgrade,
    expectsContinue: () => expecting,
    sendContinue() {
      if (expecting) response().writeContinue()
      expecting = false
    },
    respond,
    accept: ({ head, response: from, socket }) => {
      if (upgrade === undefined) return Effect.fail(badAnswer("101 to a request for no upgrade"))
      return Effect.suspend(() => {
        const flat = Headers.fromTarget(from.rawHeaders)
        const lines = [`HTTP/1.1 101 ${from.statusMessage ?? "Switching Protocols"}`, "Connection: Upgrade"]
        for (const value of values(from.rawHeaders, "upgrade")) lines.push(`Upgrade: ${value}`)
        for (let at = 0; at + 1 < flat.length; at += 2) lines.push(`${flat[at]}: ${flat[at + 1]}`)
        lines.push(`Via: ${Headers.via}`, `Fly-Request-Id: ${requestId}`, "", "")
        upgrade.socket.write(lines.join("\r\n"), "latin1")
        if (head.length > 0) upgrade.socket.write(head)
        const early = upgrade.takeOver()
        if (early.length > 0) socket.write(early)
        return splice(upgrade.socket, socket)
      })
    },
    refuse(error) {
      const to = response()
      if (to.headersSent || to.destroyed) return to.destroy()
      if (last()) to.shouldKeepAlive = false
      const text = `${error.message}\n`
      to.writeHead(error.status, {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": Buffer.byteLength(text),
        // Not Fly's: tells an answer of the edge from one of a target.
        "X-Edge-Error": error.code,
        Via: Headers.via,
        "Fly-Request-Id": requestId
      })
      to.end(text)
    },
    destroy() {
      upgrade?.socket.destroy()
      assigned?.destroy()
    }
  }
}
