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
    left.pipe(right)
    right.pipe(left)
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
