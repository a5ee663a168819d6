/** WebSocket frames as bytes (RFC 6455 section 5), made and taken apart without a library. */
import { createHash } from "node:crypto"

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface Frame {
  readonly fin: boolean
  readonly opcode: number
  readonly payload: Buffer
}

/** A mask that is not zero, so that a proxy that unmasks is found out. */
const key = Buffer.from([0xa1, 0x5e, 0x17, 0xc3])

const masked = (payload: Buffer) => Buffer.from(payload.map((byte, at) => byte ^ (key[at % 4] ?? 0)))

export const encode = ({ fin, opcode, payload }: Frame, mask: boolean): Buffer => {
  const bit = mask ? 0x80 : 0
  const size = payload.length
  const length =
    size < 126
      ? Buffer.from([bit | size])
      : size < 65_536
        ? Buffer.from([bit | 126, size >> 8, size & 255])
        : Buffer.concat([
            Buffer.from([bit | 127, 0, 0, 0, 0]),
            Buffer.from(new Uint8Array([size >>> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255]))
          ])
  const first = Buffer.from([(fin ? 0x80 : 0) | opcode])
  return Buffer.concat(mask ? [first, length, key, masked(payload)] : [first, length, payload])
}

export const acceptOf = (key: string): string =>
  createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")

export const clientKey = "dGhlIHNhbXBsZSBub25jZQ=="

/** A request for a WebSocket, whole. */
export const upgradeRequest = (path: string, host: string, more: ReadonlyArray<string> = []): string =>
  [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${clientKey}`,
    ...more,
    "",
    ""
  ].join("\r\n")

export const upgradeAnswer = (more: ReadonlyArray<string> = []): string =>
  [
    "HTTP/1.1 101 Switching Protocols",
    "Connection: Upgrade",
    "Upgrade: websocket",
    `Sec-WebSocket-Accept: ${acceptOf(clientKey)}`,
    ...more,
    "",
    ""
  ].join("\r\n")
