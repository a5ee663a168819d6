/** http-proxy-3 as its README shows it, with an agent that keeps connections. `PORT`, `TARGET`, `PACKAGE`: its folder. */
import * as http from "node:http"
import { createRequire } from "node:module"
import type { Duplex } from "node:stream"

interface Proxy {
  web(request: http.IncomingMessage, response: http.ServerResponse): void
  ws(request: http.IncomingMessage, socket: Duplex, head: Buffer): void
  on(event: "error", listener: () => void): void
}

const { createProxyServer }: { createProxyServer(options: object): Proxy } = createRequire(import.meta.url)(
  process.env["PACKAGE"] ?? "http-proxy-3"
)
const target = `http://127.0.0.1:${process.env["TARGET"]}`
const proxy = createProxyServer({ target, ws: true, agent: new http.Agent({ keepAlive: true }) })
proxy.on("error", () => {})
const server = http.createServer((request, response) => proxy.web(request, response))
server.on("upgrade", (request, socket, head) => proxy.ws(request, socket, head))
server.listen({ host: "127.0.0.1", port: Number(process.env["PORT"]), backlog: 4_096 })
