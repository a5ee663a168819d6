/**
 * Asks a server for another protocol. Its yes is read here, with next to nothing left over of the request; any other
 * answer by Node's client. With Node's for all, an open WebSocket held a quarter more memory, and one was opened in half as
 * much time again.
 */
import { Lendable, type Events as LentEvents } from "./Lendable.ts"
import * as PlainHead from "./PlainHead.ts"
import * as Upstream from "./Upstream.ts"
import * as Written from "./Written.ts"

export interface Events extends LentEvents {
  readonly connected: () => void
}

const host = "127.0.0.1"
/** Of silence, until the system asks whether the peer is still there. */
const keepAliveMs = 30_000

/** The headers are complete. What it returns gives it up; undefined where the request can't be written down. */
export const ask = (port: number, request: Written.Request, events: Events): (() => void) | undefined => {
  const written = Written.head(request, [])
  if (written === undefined) return undefined
  const socket = new Lendable({ allowHalfOpen: true })
  let received: Buffer | undefined
  let error: string | undefined
  const onError = (cause: Error) => {
    error ??= Upstream.reason(cause)
  }
  const onEnd = () => socket.destroy()
  const onClose = () => events.failed(error ?? "connection closed before an answer")
  /** It may be open for days, and then holds on to nothing of this. */
  const letGo = () =>
    socket
      .on("error", ignore)
      .off("error", onError)
      .off("close", onClose)
      .off("end", onEnd)
      .off("data", onData)
      .off("connect", events.connected)
  const onData = (chunk: Buffer) => {
    const all = received === undefined ? chunk : Buffer.concat([received, chunk])
    const end = all.indexOf("\r\n\r\n")
    if (end === -1 && all.length <= PlainHead.maxBytes && PlainHead.mayBegin(all)) {
      received = all
      return
    }
    letGo()
    const response = end === -1 ? undefined : PlainHead.parseSwitch(all.toString("latin1", 0, end))
    if (response === undefined) {
      // A refusal may leave it open; it is nobody's then.
      socket.once("free", () => socket.destroy())
      return socket.lend(all, { host, port, ...request, upgrade: true }, events)
    }
    socket.pause()
    events.answered({ _tag: "Upgraded", response, socket, head: all.subarray(end + 4) })
  }
  socket
    .on("error", onError)
    .on("end", onEnd)
    .on("close", onClose)
    .on("data", onData)
    .on("connect", events.connected)
    .setNoDelay(true)
    .setKeepAlive(true, keepAliveMs)
    .connect({ host, port })
  socket.write(written, "latin1")
  return () => socket.destroy()
}

const ignore = () => {}
