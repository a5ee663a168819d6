/**
 * A request's body, sent to the first target while it arrives and kept beside, up to a limit, so that it can be sent
 * again to the next one.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ClientRequest, IncomingMessage } from "node:http"
import * as Headers from "../../proxy/Headers.ts"

export interface RequestBody {
  /** The request has none: it can be sent again on any connection. */
  readonly empty: boolean
  /** Sends what has arrived and what still will, at the pace of the target, and ends the request behind it. */
  sendTo(target: ClientRequest): void
  /** The present target gets no more. */
  detach(): void
  /** Reads on to the end: true once all of it is kept, false as soon as it is larger than the limit. */
  readonly kept: Effect.Effect<boolean>
  /** Reads the rest and forgets it, so that the client finishes sending and sees its answer. */
  discard(): void
}

export const make = (source: IncomingMessage, limitBytes: number): RequestBody => {
  const length = source.headers["content-length"]
  const empty = source.headers["transfer-encoding"] === undefined && (length === undefined || Number(length) === 0)
  const whole = Deferred.makeUnsafe<boolean>()
  let chunks: Array<Buffer> = []
  let size = 0
  let exceeded = !empty && length !== undefined && Number(length) > limitBytes
  let ended = empty
  let reading = false
  let target: ClientRequest | undefined

  const settle = () => {
    if (exceeded) Deferred.doneUnsafe(whole, Effect.succeed(false))
    else if (ended) Deferred.doneUnsafe(whole, Effect.succeed(true))
  }
  const finish = (request: ClientRequest) => {
    const trailers = Headers.trailers(source.rawTrailers)
    try {
      if (trailers.length > 0) request.addTrailers(trailers)
    } catch {
      // A trailer that Node's parser took and its writer refuses is dropped: it has no place to be reported.
    }
    request.end()
  }
  const onData = (chunk: Buffer) => {
    size += chunk.length
    if (size > limitBytes) exceeded = true
    if (exceeded) chunks = []
    else chunks.push(chunk)
    if (target !== undefined && !target.write(chunk)) source.pause()
    settle()
  }
  const onEnd = () => {
    ended = true
    if (target !== undefined) finish(target)
    settle()
  }
  const read = () => {
    if (!reading && !empty) {
      reading = true
      source.on("data", onData)
      source.on("end", onEnd)
    }
    source.resume()
  }
  // An aborted upload reaches the exchange as the response's close; here it must only not be unhandled.
  source.on("error", () => {})
  settle()

  return {
    empty,
    sendTo(request) {
      for (const chunk of chunks) request.write(chunk)
      if (ended) return finish(request)
      target = request
      request.flushHeaders()
      request.on("drain", () => {
        if (target === request) source.resume()
      })
      read()
    },
    detach() {
      target = undefined
    },
    kept: Effect.suspend(() => {
      if (!exceeded && !ended) read()
      return Deferred.await(whole)
    }),
    discard() {
      target = undefined
      exceeded = true
      chunks = []
      if (!ended) read()
    }
  }
}
