/** Streams the body of an answer, whose head is written, to the one who asked. */
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { pipeline } from "node:stream"
import * as Headers from "./Headers.ts"

/** Ends with the body, or when either side is gone: then both are, so that a cut answer is never taken for a whole one. */
export const relay = (from: IncomingMessage, to: ServerResponse): Effect.Effect<void> =>
  Effect.callback((resume) => {
    // The first byte of a stream of events may be minutes away; its head is not.
    to.flushHeaders()
    // Before the pipeline's own listener, which ends the answer: trailers go before its end.
    from.once("end", () => {
      const trailers = Headers.trailers(from.rawTrailers)
      try {
        if (trailers.length > 0) to.addTrailers(trailers)
      } catch {
        // Trailers that can't be written are left out: the head is sent, there is no way to report them.
      }
    })
    pipeline(from, to, () => resume(Effect.void))
    return Effect.sync(() => {
      from.destroy()
      to.destroy()
    })
  })
