/** Joins two sockets: bytes both ways with back-pressure, each direction ending on its own. */
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"

/** Somebody who keeps its own half open would not notice an ordinary end, and wait for ever. */
const reset = (socket: Socket) => {
  if (!socket.destroyed) socket.resetAndDestroy()
}

/**
 * Once one side has ended its half, the other's may be silent for so long. A peer that vanished answers nothing, and
 * while the end that was sent to it waits to be acknowledged, the system does not ask whether it is there.
 */
const halfOpenMs = 30_000

/**
 * A read of this size and more has memory of its own, 64 KiB of it, which only the collector would free: it can't see how
 * much there is until it marks the whole heap, ten times a second under load. Given back by hand, twice as many large
 * messages pass (`bench/`, `proxy`, WebSocket 64 KiB).
 */
const largeBytes = 16 * 1024

/** The system has it, and nobody else: only what is the whole of its memory is. */
const giveBack = ({ buffer, byteLength }: Buffer) => {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}

/** As `write`. After a failure the system may still hold it. */
const writeLarge = (to: Socket, piece: Buffer) =>
  to.write(piece, (error) => {
    if (error === undefined || error === null) giveBack(piece)
  })

/** Bytes one way, as `pipe`, at the pace of who takes them. */
const forward = (from: Socket, to: Socket) => {
  from.on("data", (piece: Buffer) => {
    if (!(piece.length < largeBytes ? to.write(piece) : writeLarge(to, piece))) from.pause()
  })
  to.on("drain", () => from.resume())
  from.once("end", () => to.end())
  from.resume()
}

/** Tells when both are closed. Neither's errors escape. What it returns destroys both. */
export const start = (left: Socket, right: Socket, ended: () => void, silentMs = halfOpenMs): (() => void) => {
  const destroy = () => {
    left.destroy()
    right.destroy()
  }
  let open = 0
  const join = (from: Socket, to: Socket) => {
    from.on("error", () => reset(to))
    if (from.closed) return
    open += 1
    from.setTimeout(0)
    from.setNoDelay(true)
    from.once("end", () => to.setTimeout(silentMs, destroy))
    from.once("close", (broken) => {
      // A clean end was passed on by the pipe, and what `to` has still to send it sends first.
      if (broken) reset(to)
      else to.destroySoon()
      open -= 1
      if (open === 0) ended()
    })
  }
  join(left, right)
  join(right, left)
  if (left.destroyed || right.destroyed) destroy()
  else {
    forward(left, right)
    forward(right, left)
  }
  if (open === 0) ended()
  return destroy
}

/** Ends when both are closed; interruption destroys both. */
export const splice = (left: Socket, right: Socket, silentMs = halfOpenMs): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const destroy = start(left, right, () => resume(Effect.void), silentMs)
    return Effect.sync(destroy)
  })
