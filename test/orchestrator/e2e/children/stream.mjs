// Answers /stream for as long as somebody reads.
import { createServer } from "node:http"

createServer((request, response) => {
  if (request.url !== "/stream") return response.end(String(process.pid))
  const timer = setInterval(() => response.write("tick\n"), 20)
  response.on("close", () => clearInterval(timer))
}).listen(process.env.PORT, "127.0.0.1")
