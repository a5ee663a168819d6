/** Free ports and ports that listen, on loopback. */
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { connect } from "node:net"

/** Free a moment ago: whoever asks must use it soon. */
export const freePort = Effect.scoped(
  Effect.gen(function* () {
    const server = yield* NodeSocketServer.make({ port: 0, host: "127.0.0.1" })
    return "port" in server.address ? server.address.port : 0
  })
)

const accepts = (port: number): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => resume(Effect.succeed(true)))
    socket.once("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.succeed(false) }))

/** True as soon as somebody accepts on the port, false after `withinMs`. */
export const awaitAccepting = (port: number, withinMs: number): Effect.Effect<boolean> =>
  accepts(port).pipe(
    Effect.repeat({ until: (listening) => listening, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({ duration: withinMs, orElse: () => Effect.succeed(false) })
  )
