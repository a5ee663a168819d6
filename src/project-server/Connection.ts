/**
 * One WebSocket as a source of commands. Its memory is bounded both ways: what it asks beyond its inbox stays in the
 * kernel (the socket is paused), and its next command waits while the answers before it are not read. Events can't wait
 * for it, so a subscriber that lags too far behind is closed.
 */
import type { Duplex } from "node:stream"
import type { RawData, WebSocket } from "ws"
import { closeCodes, limits } from "../contract/Documents.ts"
import type { Change, Source, Task } from "./DocumentStore.ts"
import * as Frames from "./Frames.ts"

/** Frames taken off the socket and not yet carried out. */
const maxInbox = 512
const maxInboxCharacters = 2 * limits.maxFrameBytes
/** Unsent bytes beyond which the next command waits, and beyond which a subscriber is closed. */
const maxUnread = 1024 * 1024
const maxLag = 4 * 1024 * 1024

export interface ConnectionHooks {
  readonly submit: (source: Source) => void
  readonly touch: () => void
  readonly closed: () => void
}

export class Connection implements Source {
  /** A pong came since the last ping. */
  alive = true
  readonly #socket: WebSocket
  readonly #raw: Duplex
  readonly #hooks: ConnectionHooks
  readonly #prefixes = new Set<string>()
  #inbox: Array<{ readonly text: string | null; readonly size: number }> = []
  #next = 0
  #characters = 0
  #reserved = 0
  #waiting = false

  constructor(socket: WebSocket, raw: Duplex, hooks: ConnectionHooks) {
    this.#socket = socket
    this.#raw = raw
    this.#hooks = hooks
    socket.on("message", (data, isBinary) => this.#received(data, isBinary))
    socket.on("pong", () => {
      this.alive = true
    })
    // A peer that breaks the protocol or the connection: `close` follows.
    socket.on("error", () => {})
    socket.on("close", () => {
      this.#inbox = []
      this.#next = 0
      this.#prefixes.clear()
      hooks.closed()
    })
  }

  #received(data: RawData, isBinary: boolean) {
    this.#hooks.touch()
    const text = isBinary ? null : data.toString()
    const size = text?.length ?? 0
    this.#inbox.push({ text, size })
    this.#characters += size
    if (this.#inbox.length - this.#next >= maxInbox || this.#characters >= maxInboxCharacters) this.#socket.pause()
    this.#hooks.submit(this)
  }

  #roomLeft(): boolean {
    return this.#socket.bufferedAmount + this.#reserved < maxUnread
  }

  take(): Task | undefined {
    if (this.#next >= this.#inbox.length) return undefined
    if (!this.#roomLeft()) {
      this.#waiting = true
      return undefined
    }
    const frame = this.#inbox[this.#next++]
    if (frame === undefined) return undefined
    this.#characters -= frame.size
    if (this.#next === this.#inbox.length) {
      this.#inbox = []
      this.#next = 0
    }
    if (this.#socket.isPaused && this.#inbox.length - this.#next < maxInbox / 2) this.#socket.resume()
    return this.#task(frame.text)
  }

  reserve(size: number) {
    this.#reserved += size
  }

  #task(text: string | null): Task {
    const parsed: Frames.Parsed =
      text === null
        ? { _tag: "Invalid", id: "null", code: "bad_request", message: "frames are text" }
        : Frames.parse(text)
    switch (parsed._tag) {
      case "Command":
        return {
          command: parsed.command,
          answer: (outcome) => this.#send(Frames.answer(parsed.id, outcome))
        }
      case "Subscribe":
        if (this.#prefixes.size >= limits.maxPrefixes && !this.#prefixes.has(parsed.prefix)) {
          return this.#said(
            Frames.failure(parsed.id, "bad_request", `a connection has at most ${limits.maxPrefixes} prefixes`)
          )
        }
        this.#prefixes.add(parsed.prefix)
        return { command: { op: "none" }, answer: (outcome) => this.#send(Frames.answer(parsed.id, outcome)) }
      case "Unsubscribe":
        this.#prefixes.delete(parsed.prefix)
        return { command: { op: "none" }, answer: (outcome) => this.#send(Frames.answer(parsed.id, outcome)) }
      case "Invalid":
        return this.#said(Frames.failure(parsed.id, parsed.code, parsed.message))
    }
  }

  #said(answer: string): Task {
    return { command: { op: "none" }, answer: () => this.#send(answer) }
  }

  #send(answer: string) {
    this.#reserved = 0
    if (!this.#raw.writableCorked) {
      this.#raw.cork()
      process.nextTick(() => this.#raw.uncork())
    }
    this.#socket.send(answer, () => this.#sent())
  }

  #sent() {
    if (!this.#waiting || !this.#roomLeft()) return
    this.#waiting = false
    this.#hooks.submit(this)
  }

  subscribed(key: string): boolean {
    for (const prefix of this.#prefixes) if (key.startsWith(prefix)) return true
    return false
  }

  get listens(): boolean {
    return this.#prefixes.size > 0
  }

  publish(change: Change, frame: string) {
    if (this.#socket.readyState !== this.#socket.OPEN || !this.subscribed(change.key)) return
    if (this.#socket.bufferedAmount > maxLag) {
      this.#prefixes.clear()
      this.#socket.close(closeCodes.tryAgainLater, "too slow")
      return
    }
    this.#socket.send(frame, () => this.#sent())
  }

  ping() {
    this.alive = false
    this.#socket.ping()
  }

  close(code: number, reason: string) {
    this.#inbox = []
    this.#next = 0
    this.#socket.resume()
    this.#socket.close(code, reason)
  }

  terminate() {
    this.#socket.terminate()
  }
}
