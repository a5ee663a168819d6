/**
 * A connection to a server on which a request was sent, and whose answer Node's client may read after all: it gets all
 * that has arrived, and what comes; of what it writes, which was sent, nothing is sent.
 */
import * as http from "node:http"
import * as net from "node:net"
import * as Upstream from "./Upstream.ts"

/** Of a single connection, which says `free` when it can take another request. */
class Lender extends http.Agent {
  readonly #socket: net.Socket
  constructor(socket: net.Socket) {
    super({ keepAlive: true })
    this.#socket = socket
  }
  addRequest(request: http.ClientRequest) {
    request.onSocket(this.#socket)
  }
}

export interface Events {
  readonly answered: (answer: Upstream.Answer) => void
  readonly hints: (link: string | Array<string>) => void
  readonly failed: (detail: string) => void
}

export class Lendable extends net.Socket {
  lent = false

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void) {
    if (this.lent) callback()
    else super._write(chunk, encoding, callback)
  }
  override _writev(
    chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>,
    callback: (error?: Error | null) => void
  ) {
    if (this.lent) callback()
    else super._writev?.(chunks, callback)
  }

  lend(received: Buffer, target: Upstream.Target, { answered, failed, hints }: Events) {
    this.pause()
    this.unshift(received)
    this.lent = true
    try {
      const reader = Upstream.send(target, new Lender(this), {
        connected: () => this.resume(),
        answered: (answer) => {
          // From now on both ends write themselves.
          if (answer._tag === "Upgraded") this.lent = false
          answered(answer)
        },
        failed
      })
      Upstream.onHints(reader, hints)
      reader.end()
    } catch (cause) {
      this.destroy()
      failed(String(cause))
    }
  }
}
