/** Streams the body of an answer, whose head is written, to the one who asked. */
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { flushHead } from "./FlushHead.ts"
import * as Headers from "./Headers.ts"

/** Where only the end of the connection ends the body, an ordinary end would make a part look like the whole. */
const cut = (from: IncomingMessage, to: ServerResponse) => {
  if (to.chunkedEncoding || from.headers["content-length"] !== undefined) to.destroy()
  else to.socket?.resetAndDestroy()
}

/** Node takes also a reset for the end of a body that nothing else ends. A connection that was kept is nobody's. */
const isWhole = ({ complete, headers, socket }: Pick<IncomingMessage, "complete" | "headers"> & Connected) =>
  complete &&
  (headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined || !socket?.errored)
interface Connected {
  readonly socket: Socket | null
}

/**
 * Ends with the body, or when either side is gone: then both are, so that a cut answer is never taken for a whole one.
 * What it returns cuts both.
 */
export const start = (from: IncomingMessage, to: ServerResponse, ended: () => void): (() => void) => {
  const cancel = () => {
    from.destroy()
    to.destroy()
  }
  const gone = () => {
    from.destroy()
    ended()
  }
  if (to.destroyed || (from.destroyed && !isWhole(from))) {
    if (!to.destroyed) cut(from, to)
    gone()
    return cancel
  }
  // The first byte of a stream of events may be minutes away; its head is not. A body that came in the same packet is
  // read before this is asked, and goes with its head: a fifth of what a short answer costs.
  queueMicrotask(() => {
    if (!from.readableDidRead && !from.complete && !to.destroyed) flushHead(to)
  })
  from.once("end", () => {
    if (!isWhole(from)) return cut(from, to)
    const trailers = Headers.trailers(from.rawTrailers)
    try {
      if (trailers.length > 0) to.addTrailers(trailers)
    } catch {
      // Trailers that can't be written are left out: the head is sent, there is no way to report them.
    }
    return void to.end()
  })
  from.once("close", () => {
    if (!isWhole(from)) cut(from, to)
  })
  to.once("close", gone)
  from.pipe(to, { end: false })
  return cancel
}

/** Likewise; interruption cuts both. */
export const relay = (from: IncomingMessage, to: ServerResponse): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const cancel = start(from, to, () => resume(Effect.void))
    return Effect.sync(cancel)
  })
