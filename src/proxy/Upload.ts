/** A request's body on its way to one target: streamed at the target's pace, never kept. */
import * as Effect from "effect/Effect"
import type { ClientRequest, IncomingMessage } from "node:http"
import { flushHead } from "./FlushHead.ts"
import * as Headers from "./Headers.ts"

export interface Upload {
  /** There is none: the request can be sent again on any connection. */
  readonly empty: boolean
  /** Sends it, as it arrives, and ends the request behind it. Nothing is read before. */
  sendTo(target: ClientRequest): void
  /** All of it has arrived. */
  complete(): boolean
  /** More could be taken, but the client sends nothing. */
  starved(): boolean
  /** Called when some of it, or its end, has arrived. */
  onProgress: () => void
  /** Takes it from the target: the rest is read and forgotten, so that the client finishes sending and sees its answer. */
  discard(): void
  /** Ends with the body or its connection. */
  readonly over: Effect.Effect<void>
}

export const isEmpty = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0

export const make = (source: IncomingMessage): Upload => {
  const empty = isEmpty(source)
  // An upload that is cut reaches the exchange as the end of its connection; here it must only not be unhandled.
  if (!empty) source.on("error", () => {})
  const upload: Upload = {
    empty,
    sendTo(target) {
      if (empty) return void target.end()
      source.on("data", () => upload.onProgress())
      source.once("end", () => {
        upload.onProgress()
        const trailers = Headers.trailers(source.rawTrailers)
        try {
          if (trailers.length > 0) target.addTrailers(trailers)
        } catch {
          // A trailer that Node's parser took and its writer refuses is dropped: it has no place to be reported.
        }
        target.end()
      })
      // Its head does not wait for the body's first byte.
      flushHead(target)
      source.pipe(target, { end: false })
    },
    complete: () => empty || source.complete,
    starved: () => !upload.complete() && !source.isPaused(),
    onProgress: () => {},
    discard() {
      if (upload.complete()) return
      source.unpipe()
      source.resume()
    },
    over: Effect.callback((resume) => {
      const { socket } = source
      const done = () => {
        source.off("end", done)
        socket.off("close", done)
        resume(Effect.void)
      }
      if (upload.complete() || socket.destroyed) return done()
      source.on("end", done)
      socket.on("close", done)
      return Effect.sync(done)
    })
  }
  return upload
}
