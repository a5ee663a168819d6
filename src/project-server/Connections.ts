/**
 * All WebSockets of the server: accepts them, tells them of changes, pings them every 30 s and drops the dead ones (a
 * closed laptop must not keep a machine awake), and closes them before the server seals or stops.
 */
import type { IncomingMessage } from "node:http"
import type { Duplex } from "node:stream"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { WebSocketServer } from "ws"
import { closeCodes, limits } from "../contract/Documents.ts"
import { Connection } from "./Connection.ts"
import { DocumentStore } from "./DocumentStore.ts"
import * as Frames from "./Frames.ts"
import { Gate } from "./Gate.ts"

const pingEvery = "30 seconds"
/** For the closing handshake; a peer that doesn't answer it is cut off. */
const closeWithin = "2 seconds"
/** An idle WebSocket takes about 20 kB of a 256 MB machine. */
const maxConnections = 4096

export class Connections extends Context.Service<
  Connections,
  {
    /** Takes the socket over; false where there are too many connections. */
    readonly accept: (request: IncomingMessage, socket: Duplex, head: Buffer) => boolean
    /** Returns when every connection is gone; new ones are the gate's business. */
    closeAll(code: number, reason: string): Effect.Effect<void>
  }
>()("valet/Connections") {
  static readonly layer = Layer.effect(
    Connections,
    Effect.gen(function* () {
      const gate = yield* Gate
      const store = yield* DocumentStore
      const none = yield* Latch.make(true)
      const all = new Set<Connection>()
      const server = new WebSocketServer({
        noServer: true,
        clientTracking: false,
        perMessageDeflate: false,
        maxPayload: limits.maxFrameBytes
      })

      store.listen((changes) => {
        const listeners = [...all].filter((connection) => connection.listens)
        if (listeners.length === 0) return
        for (const change of changes) {
          const frame = Frames.event(change)
          for (const connection of listeners) connection.publish(change, frame)
        }
      })

      const accept = (request: IncomingMessage, socket: Duplex, head: Buffer): boolean => {
        if (all.size >= maxConnections) return false
        server.handleUpgrade(request, socket, head, (webSocket) => {
          const connection = new Connection(webSocket, socket, {
            submit: store.submit,
            touch: gate.touch,
            closed: () => {
              all.delete(connection)
              gate.disconnected()
              if (all.size === 0) none.openUnsafe()
            }
          })
          all.add(connection)
          none.closeUnsafe()
          gate.connected()
        })
        return true
      }

      const ping = Effect.sync(() => {
        for (const connection of all) {
          if (connection.alive) connection.ping()
          else connection.terminate()
        }
      })
      yield* ping.pipe(
        Effect.schedule(Schedule.spaced(pingEvery)),
        Effect.catchCause((cause) => Effect.logError("pings ended", cause)),
        Effect.forkScoped
      )

      const closeAll = (code: number, reason: string) =>
        Effect.suspend(() => {
          for (const connection of all) connection.close(code, reason)
          return none.await
        }).pipe(
          Effect.timeoutOrElse({
            duration: closeWithin,
            orElse: () =>
              Effect.suspend(() => {
                for (const connection of all) connection.terminate()
                return none.await
              })
          })
        )
      yield* Effect.addFinalizer(() => closeAll(closeCodes.goingAway, "the server stops"))
      return Connections.of({ accept, closeAll })
    })
  )
}
