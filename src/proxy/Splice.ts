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

/** Ends when both are closed; interruption destroys both. Neither's errors escape. */
export const splice = (left: Socket, right: Socket, silentMs = halfOpenMs): Effect.Effect<void> =>
  Effect.callback((resume) => {
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
        if (open === 0) resume(Effect.void)
      })
    }
    join(left, right)
    join(right, left)
    if (left.destroyed || right.destroyed) destroy()
    else {
      left.pipe(right)
      right.pipe(left)
    }
    if (open === 0) resume(Effect.void)
    return Effect.sync(destroy)
  })
