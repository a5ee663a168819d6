/** One GET to a server, to see how it is. */
import * as Effect from "effect/Effect"
import { type ClientRequest, request } from "node:http"
import { connect, type Socket } from "node:net"
import type { Probe } from "../ServerHost.ts"

const unhealthy = (detail: string): Probe => ({ _tag: "Unhealthy", detail })

/** 426 is what a server of WebSockets alone says, 401 and 403 one that wants to know who asks: of its health none tells. */
const ofStatus = (status: number): Probe => {
  if (status >= 200 && status < 400) return { _tag: "Healthy" }
  if (status === 501 || (status >= 400 && status < 500 && status !== 408 && status !== 429))
    return { _tag: "Listening" }
  return unhealthy(`health path answered ${status}`)
}

const ofError = (error: Error): Probe => {
  const code = "code" in error ? String(error.code) : ""
  if (code === "ECONNREFUSED") return { _tag: "Closed" }
  // Node's parser: it answers, and not in HTTP.
  if (code.startsWith("HPE_")) return { _tag: "Listening" }
  return unhealthy(code === "ECONNRESET" ? "closed the connection without an answer" : `can't be asked: ${code}`)
}

const ask = (socket: Socket, port: number, path: string, answer: (probe: Probe) => void): ClientRequest => {
  const outgoing = request({
    createConnection: () => socket,
    path,
    headers: { host: `127.0.0.1:${port}`, "user-agent": "valet-orchestrator", connection: "close" }
  })
  outgoing.on("response", (response) => {
    response.on("error", () => {})
    answer(ofStatus(response.statusCode ?? 0))
  })
  outgoing.on("upgrade", (_response, upgraded) => {
    upgraded.destroy()
    answer({ _tag: "Listening" })
  })
  outgoing.on("error", (error) => answer(ofError(error)))
  outgoing.end()
  return outgoing
}

/**
 * The answer's head counts; its body is not waited for. A server that starts is asked many times before it listens: so
 * there is no request before there is a connection, which alone costs a quarter.
 */
export const probe = (port: number, path: string, timeoutMs: number): Effect.Effect<Probe> =>
  Effect.callback<Probe>((resume) => {
    const socket = connect({ host: "127.0.0.1", port })
    let outgoing: ClientRequest | undefined
    const end = () => {
      outgoing?.destroy()
      socket.destroy()
    }
    const answer = (probe: Probe) => {
      resume(Effect.succeed(probe))
      end()
    }
    // Stays for good: also a request that was answered may still lose its connection.
    socket.on("error", (error) => answer(ofError(error)))
    socket.once("connect", () => {
      try {
        outgoing = ask(socket, port, path, answer)
      } catch (error) {
        answer(unhealthy(`can't be asked: ${String(error)}`))
      }
    })
    return Effect.sync(end)
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeoutMs,
      orElse: () => Effect.succeed(unhealthy(`no answer within ${timeoutMs} ms`))
    })
  )
