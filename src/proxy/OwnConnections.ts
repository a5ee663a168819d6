/** Connections to targets that are one request's own, and end with it. */
import * as http from "node:http"
import * as net from "node:net"

/**
 * A server that answers early and closes resets the connection under what is still sent to it. Its answer has arrived
 * by then: a write that fails must not end the reading of it.
 */
class Patient extends net.Socket {
  override _write(chunk: unknown, encoding: BufferEncoding, callback: () => void) {
    super._write(chunk, encoding, () => callback())
  }
  override _writev(chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, callback: () => void) {
    super._writev?.(chunks, () => callback())
  }
}

class OwnConnections extends http.Agent {
  override createConnection({ host, port }: http.ClientRequestArgs) {
    return new Patient().setNoDelay(true).connect({ host: host ?? "127.0.0.1", port: Number(port) })
  }
}

export const ownConnections: http.Agent = new OwnConnections({ keepAlive: false })
