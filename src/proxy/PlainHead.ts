/**
 * The head of an answer as nearly all are: HTTP/1.1, no interim one, its body's length told, its connection kept.
 * Everything that is read here is read to the letter of RFC 9112; a head with anything else in it is left to Node's parser.
 */
import type { Flat } from "./Headers.ts"

export interface Head {
  readonly statusCode: number
  readonly statusMessage: string
  readonly rawHeaders: Flat
}

export interface PlainHead extends Head {
  /** Of the body that follows, in bytes. */
  readonly length: number
  /** How long its server keeps the connection, a second less; infinite where it does not say. */
  readonly keptMs: number
}

/** As Node's parser. */
export const maxBytes = 16_384

const statusLine = /^HTTP\/1\.1 ([1-5]\d\d) ([\t\x20-\x7e\x80-\xff]*)$/
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const text = /^[\t\x20-\x7e\x80-\xff]*$/
/** The request that it is an answer to may be on its way when the server ends the connection. */
const marginMs = 1_000

/** What came of a head so far may become one: the rest is worth waiting for. */
export const mayBegin = (received: Buffer): boolean =>
  received.toString("latin1", 0, 9).startsWith("HTTP/1.1 ".slice(0, received.length))

const trimmed = (line: string, from: number): string => {
  let start = from
  let end = line.length
  while (start < end && (line[start] === " " || line[start] === "\t")) start += 1
  while (end > start && (line[end - 1] === " " || line[end - 1] === "\t")) end -= 1
  return line.slice(start, end)
}

const read = (head: string): Head | undefined => {
  const lines = head.split("\r\n")
  const [, code, statusMessage] = statusLine.exec(lines[0] ?? "") ?? []
  if (code === undefined || statusMessage === undefined) return undefined
  const rawHeaders: Array<string> = []
  for (let at = 1; at < lines.length; at++) {
    const line = lines[at] ?? ""
    const colon = line.indexOf(":")
    const name = line.slice(0, colon)
    if (colon <= 0 || !token.test(name)) return undefined
    const value = trimmed(line, colon + 1)
    if (!text.test(value)) return undefined
    rawHeaders.push(name, value)
  }
  return { statusCode: Number(code), statusMessage, rawHeaders }
}

/** `head`: in Latin-1, without the empty line behind it. */
export const parse = (head: string, method: string): PlainHead | undefined => {
  const all = read(head)
  if (all === undefined || all.statusCode < 200) return undefined
  const { rawHeaders, statusCode } = all
  let length: number | undefined
  let keptMs = Number.POSITIVE_INFINITY
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ""
    const value = rawHeaders[at + 1] ?? ""
    // Nearly all names are told apart by their lengths.
    switch (name.length) {
      case 7:
        if (isUpgradeOrTrailer(name)) return undefined
        break
      case 10:
        switch (name.toLowerCase()) {
          case "connection":
            if (value.toLowerCase() !== "keep-alive") return undefined
            break
          case "keep-alive": {
            const seconds = /^timeout=(\d{1,6})/.exec(value)?.[1]
            if (seconds !== undefined) keptMs = Number(seconds) * 1_000 - marginMs
          }
        }
        break
      case 14:
        if (name.toLowerCase() !== "content-length") break
        if (length !== undefined || !/^\d{1,15}$/.test(value)) return undefined
        length = Number(value)
        break
      case 17:
        if (name.toLowerCase() === "transfer-encoding") return undefined
    }
  }
  // Whatever their length says, no body follows.
  if (method === "HEAD" || statusCode === 304) return { ...all, length: 0, keptMs }
  if (statusCode === 204) return length === undefined ? { ...all, length: 0, keptMs } : undefined
  return length === undefined ? undefined : { ...all, length, keptMs }
}

/** Of an answer that agrees to another protocol and says nothing else. */
export const parseSwitch = (head: string): Head | undefined => {
  const all = read(head)
  if (all?.statusCode !== 101) return undefined
  const names = all.rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase())
  const framed = names.includes("content-length") || names.includes("transfer-encoding")
  return names.includes("upgrade") && names.includes("connection") && !framed ? all : undefined
}

const isUpgradeOrTrailer = (name: string): boolean => {
  const lower = name.toLowerCase()
  return lower === "upgrade" || lower === "trailer"
}
