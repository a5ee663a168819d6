/** A WebSocket whose bytes a test writes and reads itself. */
import { connect } from "node:net"
import * as Effect from "effect/Effect"
import { upgradeRequest } from "../orchestrator/support/Frames.ts"
import { excerpt, Violation } from "./Violation.ts"

export interface Received {
  readonly opcode: number
  readonly payload: Buffer
}

/** Frames of a server: whole, unmasked, no reserved bits. Undefined where they are something else. */
export const framesOf = (bytes: Buffer): ReadonlyArray<Received> | undefined => {
  const found: Array<Received> = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const first = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    if ((first & 0xf0) !== 0x80 || (second & 0x80) !== 0) return undefined
    const small = second & 0x7f
    const extra = small === 126 ? 2 : small === 127 ? 8 : 0
    if (at + 2 + extra > bytes.length) break
    const length =
      extra === 0 ? small : extra === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    const from = at + 2 + extra
    if (from + length > bytes.length) break
    found.push({ opcode: first & 15, payload: bytes.subarray(from, from + length) })
    at = from + length
  }
  return found
}

/**
 * Upgrades, writes everything, and says goodbye once `enough` of what came is there (or at once, where nobody knows what
 * has to come); the server has to end the connection then. Everything that came behind the handshake.
 */
export const talk = (
  port: number,
  writes: ReadonlyArray<Buffer>,
  enough: ((frames: ReadonlyArray<Received>) => boolean) | undefined
): Effect.Effect<Buffer, Violation> =>
  Effect.callback((resume) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    let head: string | undefined
    let bytes = Buffer.alloc(0)
    let ended = false
    const fail = (detail: string) => {
      socket.destroy()
      resume(Effect.fail(new Violation({ detail })))
    }
    const end = () => {
      if (ended) return
      ended = true
      socket.end()
    }
    socket.on("data", (part: Buffer) => {
      bytes = Buffer.concat([bytes, part])
      if (head === undefined) {
        const headEnd = bytes.indexOf("\r\n\r\n")
        if (headEnd === -1) return
        head = bytes.subarray(0, headEnd).toString("latin1")
        bytes = bytes.subarray(headEnd + 4)
        if (!head.startsWith("HTTP/1.1 101 ")) return fail(`no upgrade: ${excerpt(head)}`)
        for (const write of writes) socket.write(write)
        if (enough === undefined) end()
      }
      if (enough?.(framesOf(bytes) ?? []) === true) end()
    })
    // It may reset what it does not want to read.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") fail("nothing listens any more")
    })
    socket.on("end", end)
    socket.on("close", () => resume(Effect.succeed(bytes)))
    socket.write(upgradeRequest("/ws", "demo.example.com"))
    return Effect.sync(() => socket.destroy())
  })
