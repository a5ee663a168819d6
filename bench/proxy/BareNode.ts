/** The least that a proxy in Node can be: an agent that keeps connections, and sockets joined by pipes. `PORT`, `TARGET`. */
import * as http from "node:http"
import * as net from "node:net"

const host = "127.0.0.1"
const target = Number(process.env["TARGET"])
const agent = new http.Agent({ keepAlive: true })

const server = http.createServer(({ headers, method, url }, answer) => {
  const request = http.request({ host, port: target, agent, method, path: url, headers })
  request.on("response", (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers)
    response.pipe(answer)
  })
  request.on("error", () => answer.destroy())
  request.end()
})
server.on("upgrade", ({ method, rawHeaders, url }, socket, head) => {
  const to = net.connect({ host, port: target, noDelay: true })
  const lines = [`${method} ${url} HTTP/1.1`]
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`)
  to.write(`${lines.join("\r\n")}\r\n\r\n`)
  to.write(head)
  to.on("error", () => socket.destroy())
  socket.on("error", () => to.destroy())
  to.pipe(socket)
  socket.pipe(to)
})
server.listen({ host, port: Number(process.env["PORT"]), backlog: 4_096 })
