// Answers as its path says: /half a part of what it promised, /none nothing, /garbage no HTTP.
import { createServer } from "node:net"

createServer((socket) => {
  socket.on("error", () => {})
  socket.once("data", (data) => {
    const path = String(data).split(" ")[1]
    if (path === "/half") {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
      setTimeout(() => socket.destroy(), 50)
    } else if (path === "/none") socket.destroy()
    else if (path === "/garbage") socket.end("good evening\n")
    else socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
  })
}).listen(process.env.PORT, "127.0.0.1")
