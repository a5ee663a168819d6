/** A TCP connection that sends exact bytes, and keeps what comes back. Bytes are told as latin1 text. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import { eventually } from "../../support/eventually.ts"

export interface Wire {
  readonly socket: net.Socket
  readonly send: (bytes: string | Buffer) => void
  /** All that was received. */
  readonly text: () => string
  /** Until what was received satisfies this. */
  readonly until: (enough: (text: string) => boolean) => Effect.Effect<string>
  /** The peer's end, clean or not; with all that was received. */
  readonly over: Effect.Effect<{ readonly clean: boolean; readonly text: string }>
}

/** Keeps what a socket receives; it stays open in its own direction when the peer ends. */
export const wire = (socket: net.Socket): Wire => {
  const chunks: Array<Buffer> = []
  let ended = false
  let closed = false
  socket.on("data", (chunk) => chunks.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk)))
  socket.on("error", () => {})
  socket.on("end", () => (ended = true))
  socket.on("close", () => (closed = true))
  const text = () => Buffer.concat(chunks).toString("latin1")
  const wrong = (what: string) =>
    Effect.suspend(() => Effect.die(new Error(`${what}; received: ${JSON.stringify(text().slice(0, 2000))}`)))
  return {
    socket,
    send: (bytes) => void socket.write(bytes, "latin1"),
    text,
    until: (enough) =>
      Effect.gen(function* () {
        yield* eventually(Effect.sync(() => enough(text()) || closed)).pipe(
          Effect.catchTag("NotYet", () => wrong("never came"))
        )
        return enough(text()) ? text() : yield* wrong("closed")
      }),
    over: Effect.gen(function* () {
      yield* eventually(Effect.sync(() => ended || closed)).pipe(Effect.catchTag("NotYet", () => wrong("stays open")))
      return { clean: ended, text: text() }
    })
  }
}

export const dial = (port: number): Effect.Effect<Wire, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Wire>((resume) => {
      const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true, noDelay: true })
      const made = wire(socket)
      socket.once("connect", () => resume(Effect.succeed(made)))
      socket.once("error", (error) => resume(Effect.die(error)))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )
