// A project's server that is the test's own one: what comes to $PORT goes on, byte by byte, to the port in the project's id.
import { createServer, Socket } from "node:net"

const port = Number(process.env.PROJECT_ID.slice(1))
const health = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

const join = (from, to) => {
  from.on("data", (chunk) => {
    if (!to.write(chunk)) from.pause()
  })
  to.on("drain", () => from.resume())
  from.on("end", () => to.end())
  // A reset stays one.
  from.on("error", () => to.resetAndDestroy())
  from.on("close", () => to.destroySoon())
}

// A write that fails does not end the reading of what the peer had sent before.
class Patient extends Socket {
  _write(chunk, encoding, callback) {
    super._write(chunk, encoding, () => callback())
  }
  _writev(chunks, callback) {
    super._writev(chunks, () => callback())
  }
}

createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  client.on("error", () => {})
  client.once("data", (first) => {
    client.pause()
    if (first.toString("latin1").startsWith("GET /relay-health ")) return client.end(health)
    const server = new Patient({ allowHalfOpen: true }).setNoDelay(true).connect({ host: "127.0.0.1", port })
    server.once("connect", () => {
      server.write(first)
      client.resume()
    })
    join(client, server)
    join(server, client)
  })
}).listen(Number(process.env.PORT), "127.0.0.1")
