/** One request as bytes on a connection of its own, and what the server writes to it. */
import { connect, type Socket } from "node:net"
import * as Effect from "effect/Effect"
import { excerpt, Violation } from "./Violation.ts"

export interface Answer {
  readonly status: number
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly body: string
}

export interface Exchange {
  /** The last answer that is not an interim one; undefined: the connection ended without. */
  readonly answer: Answer | undefined
  /** Everything that came, a character a byte. */
  readonly text: string
}

export const headerOf = (answer: Answer, name: string): string | undefined =>
  answer.headers.find(([given]) => given.toLowerCase() === name)?.[1]

/** Undefined: not all of it is there. */
const unchunked = (text: string): string | undefined => {
  let body = ""
  let at = 0
  for (;;) {
    const end = text.indexOf("\r\n", at)
    if (end === -1) return undefined
    const size = Number.parseInt(text.slice(at, end), 16)
    if (size === 0) return text.indexOf("\r\n", end + 2) === -1 ? undefined : body
    if (text.length < end + 2 + size + 2) return undefined
    body += text.slice(end + 2, end + 2 + size)
    at = end + 2 + size + 2
  }
}

const utf8 = (text: string): string => Buffer.from(text, "latin1").toString()

/** The first answer that is not an interim one, once all of it is there. */
const parse = (text: string, head: boolean, ended: boolean): Answer | undefined => {
  const end = text.indexOf("\r\n\r\n")
  if (end === -1) return undefined
  const [start = "", ...lines] = text.slice(0, end).split("\r\n")
  const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(start)?.[1] ?? 0)
  const rest = text.slice(end + 4)
  if (status >= 100 && status < 200 && status !== 101) return parse(rest, head, ended)
  const headers = lines.map((line): readonly [string, string] => {
    const colon = line.indexOf(":")
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  const answer = { status, headers, body: "" }
  if (head || status === 101 || status === 204 || status === 304) return answer
  const length = headerOf(answer, "content-length")
  if (headerOf(answer, "transfer-encoding") === "chunked") {
    const body = unchunked(rest)
    return body === undefined ? undefined : { ...answer, body: utf8(body) }
  }
  if (length !== undefined) {
    return rest.length < Number(length) ? undefined : { ...answer, body: utf8(rest.slice(0, Number(length))) }
  }
  return ended ? { ...answer, body: utf8(rest) } : undefined
}

export interface Sent {
  readonly port: number
  readonly bytes: Buffer
  /** The answer has no body. */
  readonly head: boolean
  /** Nothing more will be sent: where the request says that there is more, the server has to notice. */
  readonly cut: boolean
}

/** Ends with the answer, or with the connection. A connection that stays open without one is the caller's to limit. */
export const exchange = ({ bytes, cut, head, port }: Sent): Effect.Effect<Exchange, Violation> =>
  Effect.callback((resume) => {
    let text = ""
    const socket: Socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    const done = (answer: Answer | undefined) => {
      socket.removeAllListeners("close")
      // Some clients go with a goodbye, some without.
      if (cut) socket.resetAndDestroy()
      else socket.destroy()
      resume(Effect.succeed({ answer, text }))
    }
    socket.on("data", (part: Buffer) => {
      text += part.toString("latin1")
      const answer = parse(text, head, false)
      if (answer !== undefined) done(answer)
    })
    socket.on("end", () => done(parse(text, head, true)))
    socket.on("close", () => done(parse(text, head, true)))
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") resume(Effect.fail(new Violation({ detail: "nothing listens any more" })))
    })
    if (cut) socket.end(bytes)
    else socket.write(bytes)
    return Effect.sync(() => socket.destroy())
  })

/** A request that is answered, as a client sends it in good faith. */
export const ask = (
  port: number,
  request: {
    readonly method?: string
    readonly path: string
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
): Effect.Effect<Answer, Violation> => {
  const { body = "", headers = {}, method = "GET", path } = request
  const all = {
    host: "plane.example",
    connection: "close",
    ...(body === "" ? {} : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
    ...headers
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  const bytes = Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`)
  return Effect.flatMap(exchange({ port, bytes, head: method === "HEAD", cut: false }), ({ answer, text }) =>
    answer === undefined
      ? Effect.fail(new Violation({ detail: `no answer to ${method} ${path}: ${excerpt(text)}` }))
      : Effect.succeed(answer)
  )
}

export const expectStatus = (what: string, status: number) => (answer: Answer) =>
  answer.status === status
    ? Effect.succeed(answer)
    : Effect.fail(new Violation({ detail: `${what}: ${answer.status} in place of ${status}: ${excerpt(answer.body)}` }))
