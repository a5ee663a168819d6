/** The client's half of an exchange: the ways to answer it. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { Incoming } from "./Listener.ts"
import { endToEnd, values, type Flat } from "./Headers.ts"
import * as Relay from "./Relay.ts"
import * as Splice from "./Splice.ts"
import type { Answer, Upgraded } from "./Upstream.ts"

/** The target's answer makes no sense to this client. */
export class Unpassable extends Schema.TaggedError<Unpassable>()("Unpassable", { detail: Schema.String }) {
  override get message() {
    return `the answer can't be passed on: ${this.detail}`
  }
}

/** A whole answer of the proxy's own. */
export interface OwnAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Nothing tells where the next request on the connection begins. */
const unclear = new Set([400, 408])

/** Runs two connections as one until both are closed. */
export type Joined = () => Effect.Effect<void>

/** Here, where it can't hold on to anything else. */
const joined =
  (left: Socket, right: Socket): Joined =>
  () =>
    Splice.splice(left, right)

/** Sees names in lower case. */
export type Drops = (name: string) => boolean

export interface Head {
  readonly statusCode?: number | undefined
  readonly statusMessage?: string | undefined
  readonly rawHeaders: Flat
}

export interface Downstream {
  /** It waits for a 100 that it was not sent yet. */
  expectsContinue(): boolean
  sendContinue(): void
  /** A 103 with these links, where the client's version knows it. */
  sendHints(link: string | Array<string>): void
  /** Streams a target's answer, without the headers that `drops`; ends with it, or when either side is gone. */
  respond(from: IncomingMessage, drops?: Drops): Effect.Effect<void, Unpassable>
  /**
   * Hands a target's 101 on. What it answers holds nothing else of the exchange: there may be thousands that only wait.
   */
  accept(upgraded: Upgraded): Effect.Effect<Joined, Unpassable>
  /**
   * `respond` or `accept` as it may be, without a fiber. What it returns cuts both sides; or says why the answer can't be
   * passed on, and then nothing was sent and `ended` is not called.
   */
  pass(answer: Answer, drops: Drops | undefined, ended: () => void): (() => void) | Unpassable
  /** Writes the head of an answer; its body goes into what this answers, which tells nobody of its end. */
  begin(head: Head, drops?: Drops): ServerResponse | Unpassable
  /** An answer of the proxy's own; cuts the connection if another one has begun. */
  answer(answer: OwnAnswer): void
}

/** `closing`: connections are not kept. */
export const make = (incoming: Incoming, closing: () => boolean): Downstream => {
  const { request, socket, takeOver } = incoming
  const upgrade = incoming.response === undefined
  let expecting = incoming.expectsContinue
  let assigned = incoming.response

  /** After an upgrade request Node leaves the socket to its caller: a plain answer to it is the last on its connection. */
  const response = (): ServerResponse => {
    if (assigned !== undefined) return assigned
    const plain = new ServerResponse(request)
    assigned = plain
    plain.on("error", () => {})
    plain.assignSocket(socket)
    plain.once("finish", () => socket.destroySoon())
    return plain
  }

  /** Where a body that was never asked for may or may not follow, the next request can't be told from it. */
  const last = () => upgrade || expecting || closing()

  const head = (flat: Flat, { rawHeaders, statusMessage }: Head) => {
    const lines = [`HTTP/1.1 101 ${statusMessage ?? "Switching Protocols"}`, "Connection: Upgrade"]
    for (const value of values(rawHeaders, "upgrade")) lines.push(`Upgrade: ${value}`)
    for (let at = 0; at + 1 < flat.length; at += 2) lines.push(`${flat[at]}: ${flat[at + 1]}`)
    lines.push("", "")
    return lines.join("\r\n")
  }

  const begin: Downstream["begin"] = ({ rawHeaders, statusCode, statusMessage }, drops) => {
    const to = response()
    if (last()) to.shouldKeepAlive = false
    try {
      return to.writeHead(statusCode ?? 502, statusMessage ?? "", endToEnd(rawHeaders, drops))
    } catch (cause) {
      return new Unpassable({ detail: String(cause) })
    }
  }

  /** Writes the head of a 101, and what each side has sent already. */
  const join = ({ head: first, response: from, socket: target }: Upgraded): Unpassable | undefined => {
    if (!upgrade) return new Unpassable({ detail: "101 to a request for no upgrade" })
    socket.write(head(endToEnd(from.rawHeaders), from), "latin1")
    if (first.length > 0) socket.write(first)
    const early = takeOver()
    if (early.length > 0) target.write(early)
    return undefined
  }

  return {
    expectsContinue: () => expecting,
    sendContinue() {
      if (expecting) response().writeContinue()
      expecting = false
    },
    sendHints(link) {
      const to = response()
      if (upgrade || request.httpVersion !== "1.1" || to.headersSent) return
      try {
        to.writeEarlyHints({ link })
      } catch {
        // A hint that can't be written down is none: the answer still comes.
      }
    },
    respond: (from, drops) =>
      Effect.suspend(() => {
        const to = begin(from, drops)
        return to instanceof Unpassable ? Effect.fail(to) : Relay.relay(from, to)
      }),
    accept: (upgraded) =>
      Effect.suspend(() => {
        const refused = join(upgraded)
        return refused === undefined ? Effect.succeed(joined(socket, upgraded.socket)) : Effect.fail(refused)
      }),
    pass(answer, drops, ended) {
      if (answer._tag === "Upgraded") return join(answer) ?? Splice.start(socket, answer.socket, ended)
      const to = begin(answer.response, drops)
      return to instanceof Unpassable ? to : Relay.start(answer.response, to, ended)
    },
    begin,
    answer({ body, headers, status }) {
      const to = response()
      if (to.headersSent || to.destroyed) return void to.destroy()
      if (last() || unclear.has(status)) to.shouldKeepAlive = false
      to.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) })
      to.end(request.method === "HEAD" ? "" : body)
    }
  }
}
