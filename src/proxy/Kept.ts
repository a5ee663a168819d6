/**
 * Connections to servers that are kept from one request to the next, and speak themselves what nearly every exchange
 * consists of: a request without a body, and a plain answer whose length is told.
 *
 * What is not quite so plain (an answer in chunks, an interim one, any head that this does not understand to the letter)
 * is read by Node's own client: the connection is lent to it with all that has arrived, and comes back when it is done.
 * Node's client for everything took half of all the time that a short request cost.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as http from "node:http"
import { flushHead } from "./FlushHead.ts"
import { Lendable } from "./Lendable.ts"
import * as PlainHead from "./PlainHead.ts"
import * as Upstream from "./Upstream.ts"
import * as Written from "./Written.ts"

export interface Process {
  readonly pid: number
  /** On 127.0.0.1. */
  readonly port: number
}

export interface Events {
  readonly connected: () => void
  /** An answer begins; what it answers takes the body, undefined ends the connection. */
  readonly answered: (head: PlainHead.PlainHead) => http.ServerResponse | undefined
  /** Likewise, as Node's client reads it. */
  readonly answeredByNode: (answer: Upstream.Answer) => void
  readonly hints: (link: string | Array<string>) => void
  /** There is no answer. `stale`: the connection had been kept, and was closed meanwhile. */
  readonly failed: (detail: string, stale: boolean) => void
}

export interface Kept {
  /** What it returns gives the exchange up, with its connection. Undefined where the request can't be written down. */
  exchange(process: Process, request: Written.Request, events: Events): (() => void) | undefined
  /** Ends those that were not used for a while; to be called now and then. */
  sweep(): void
}

const host = "127.0.0.1"
/** Kept to one process. */
const maxIdle = 64
const idleMs = 30_000
const keepAliveMs = 30_000

interface Pool {
  readonly free: Array<Connection>
  /** With those that are in use. */
  open: number
}

interface Exchange {
  readonly request: Written.Request
  readonly events: Events
}

class Connection {
  readonly socket: Lendable
  readonly #process: Process
  readonly #pool: Pool
  #exchange: Exchange | undefined
  #received: Buffer | undefined
  /** Where the body goes, and what of it is still to come. */
  #to: http.ServerResponse | undefined
  #left = 0
  #used = false
  #error: string | undefined
  /** As its server says; on the clock of `sweep`. */
  #keptMs = idleMs
  freeUntil = Number.POSITIVE_INFINITY

  constructor(process: Process, pool: Pool) {
    this.#process = process
    this.#pool = pool
    pool.open += 1
    this.socket = new Lendable({})
    this.socket
      .on("data", this.#onData)
      .on("error", (error) => (this.#error ??= Upstream.reason(error)))
      .on("close", () => this.#closed())
      .on("free", () => this.#returned())
      .setNoDelay(true)
      .setKeepAlive(true, keepAliveMs)
      .connect({ host, port: process.port })
  }

  begin(exchange: Exchange, head: string) {
    this.#exchange = exchange
    const { socket } = this
    if (socket.connecting) socket.once("connect", exchange.events.connected)
    else exchange.events.connected()
    socket.write(head, "latin1")
  }

  /** Nothing that it still sends would be anybody's. */
  giveUp(exchange: Exchange) {
    if (this.#exchange !== exchange) return
    this.#exchange = undefined
    this.socket.destroy()
  }

  /** No fiber catches what is thrown here: Node would end the process. */
  readonly #onData = (chunk: Buffer) => {
    try {
      this.#read(chunk)
    } catch (cause) {
      this.socket.destroy(new Error(`the answer could not be read: ${String(cause)}`, { cause }))
    }
  }

  #read(chunk: Buffer) {
    if (this.#to !== undefined) return this.#body(this.#to, chunk)
    const exchange = this.#exchange
    // It speaks without being asked.
    if (exchange === undefined) return void this.socket.destroy()
    const received = this.#received === undefined ? chunk : Buffer.concat([this.#received, chunk])
    const end = received.indexOf("\r\n\r\n")
    if (end === -1 && received.length <= PlainHead.maxBytes && PlainHead.mayBegin(received)) {
      this.#received = received
      return
    }
    this.#received = undefined
    const head = end === -1 ? undefined : PlainHead.parse(received.toString("latin1", 0, end), exchange.request.method)
    if (head === undefined) return this.#lend(exchange, received)
    const to = exchange.events.answered(head)
    if (to === undefined) return this.giveUp(exchange)
    this.#left = head.length
    this.#keptMs = Math.min(idleMs, head.keptMs)
    this.#to = to
    this.#body(to, received.subarray(end + 4))
  }

  #body(to: http.ServerResponse, chunk: Buffer) {
    const { socket } = this
    if (chunk.length < this.#left) {
      this.#left -= chunk.length
      // Its first byte may be minutes away.
      if (chunk.length === 0) return flushHead(to)
      if (!to.write(chunk)) {
        socket.pause()
        to.once("drain", () => socket.resume())
      }
      return
    }
    const more = chunk.length > this.#left
    to.end(more ? chunk.subarray(0, this.#left) : chunk)
    this.#exchange = undefined
    this.#to = undefined
    if (more) socket.destroy()
    else this.#free()
  }

  /** Node's client reads what has arrived, and what comes; of what it writes, which was sent, nothing is sent. */
  #lend(exchange: Exchange, received: Buffer) {
    const { events, request } = exchange
    const { socket } = this
    const stale = this.#used
    socket.off("data", this.#onData)
    const target = { host, port: this.#process.port, ...request, upgrade: false }
    socket.lend(received, target, {
      hints: events.hints,
      answered: (answer) => {
        this.#exchange = undefined
        events.answeredByNode(answer)
      },
      failed: (detail) => {
        this.#exchange = undefined
        events.failed(this.#error ?? detail, stale)
      }
    })
  }

  #returned() {
    this.socket.lent = false
    this.socket.on("data", this.#onData).resume()
    this.#free()
  }

  #free() {
    const { socket } = this
    this.#used = true
    if (!socket.writable || this.#pool.free.length >= maxIdle || this.#keptMs <= 0) return void socket.destroy()
    this.freeUntil = Number.POSITIVE_INFINITY
    this.#pool.free.push(this)
  }

  /** Since when it is free is only asked now and then. */
  isOver(nowMs: number): boolean {
    if (this.freeUntil === Number.POSITIVE_INFINITY) this.freeUntil = nowMs + this.#keptMs
    return this.freeUntil <= nowMs
  }

  #closed() {
    this.#pool.open -= 1
    const at = this.#pool.free.indexOf(this)
    if (at !== -1) this.#pool.free.splice(at, 1)
    const exchange = this.#exchange
    // A part must never look like the whole.
    this.#to?.destroy()
    this.#to = undefined
    this.#exchange = undefined
    if (exchange === undefined || this.socket.lent) return
    exchange.events.failed(this.#error ?? "connection closed before an answer", this.#used)
  }
}

export const make: Effect.Effect<Kept, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  /** Each to one process: a new one on an old port never gets its predecessor's. */
  const pools = new Map<string, Pool>()
  const destroyFree = () => {
    for (const { free } of pools.values()) for (const { socket } of free) socket.destroy()
  }
  yield* Effect.addFinalizer(() => Effect.sync(destroyFree))
  const poolOf = ({ pid, port }: Process): Pool => {
    const key = `${pid}:${port}`
    const known = pools.get(key)
    if (known !== undefined) return known
    const pool: Pool = { free: [], open: 0 }
    pools.set(key, pool)
    return pool
  }
  return {
    exchange(process, request, events) {
      const head = Written.head(request, ["Connection", "keep-alive"])
      if (head === undefined) return undefined
      const pool = poolOf(process)
      const connection = pool.free.pop() ?? new Connection(process, pool)
      const exchange = { request, events }
      connection.begin(exchange, head)
      return () => connection.giveUp(exchange)
    },
    sweep() {
      const nowMs = Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
      for (const [key, { free, open }] of pools) {
        for (const connection of free) if (connection.isOver(nowMs)) connection.socket.destroy()
        if (open === 0) pools.delete(key)
      }
    }
  }
})
