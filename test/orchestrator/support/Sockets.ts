/** `ws`'s own client, as effects. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { IncomingMessage } from "node:http"
import { WebSocket, type ClientOptions } from "ws"
import { eventually } from "../../support/eventually.ts"

export interface Opened {
  readonly socket: WebSocket
  readonly messages: ReadonlyArray<{ readonly data: Buffer; readonly binary: boolean }>
  readonly pings: ReadonlyArray<string>
  readonly pongs: ReadonlyArray<string>
  /** Of the answer to the upgrade. */
  readonly response: IncomingMessage
}

/** The answer of one who does not want a WebSocket. */
export class Refused {
  readonly _tag = "Refused"
  readonly status: number
  readonly headers: NodeJS.Dict<string | Array<string>>
  readonly body: string
  constructor(status: number, headers: NodeJS.Dict<string | Array<string>>, body: string) {
    this.status = status
    this.headers = headers
    this.body = body
  }
}

export const bytesOf = (data: Buffer | ArrayBuffer | Array<Buffer>): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data)

export const open = (
  url: string,
  options: ClientOptions = {},
  protocols: ReadonlyArray<string> = []
): Effect.Effect<Opened, Refused | Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Opened, Refused | Error>((resume) => {
      const socket = new WebSocket(url, [...protocols], { maxPayload: 64 * 1024 * 1024, ...options })
      const messages: Array<{ readonly data: Buffer; readonly binary: boolean }> = []
      const pings: Array<string> = []
      const pongs: Array<string> = []
      let response: IncomingMessage | undefined
      socket.on("message", (data, binary) => messages.push({ data: bytesOf(data), binary }))
      socket.on("ping", (data) => pings.push(data.toString()))
      socket.on("pong", (data) => pongs.push(data.toString()))
      socket.on("upgrade", (answer) => (response = answer))
      socket.on("error", (error) => resume(Effect.fail(error)))
      socket.on("unexpected-response", (_, answer) => {
        let body = ""
        answer.on("data", (chunk: Buffer) => (body += chunk.toString()))
        answer.on("close", () => resume(Effect.fail(new Refused(answer.statusCode ?? 0, answer.headers, body))))
      })
      socket.on("open", () => {
        if (response !== undefined) resume(Effect.succeed({ socket, messages, pings, pongs, response }))
      })
    }),
    ({ socket }) => Effect.sync(() => socket.terminate())
  )

export interface Closed {
  readonly code: number
  readonly reason: string
}

/** How it was closed, for any socket that this was called for while it was open. */
export const watchClose = (socket: WebSocket): Effect.Effect<Closed, unknown> => {
  let closed: Closed | undefined
  socket.on("close", (code, reason) => (closed = { code, reason: reason.toString() }))
  return Effect.andThen(
    eventually(Effect.sync(() => closed !== undefined)),
    Effect.sync(() => closed ?? { code: 0, reason: "" })
  )
}
