// Listens, is healthy, and dies of its first request.
import { createServer } from "node:http"

createServer((request, response) => {
  if (request.url === "/health") return response.end("ok")
  console.error("out of luck")
  process.exit(7)
}).listen(process.env.PORT, "127.0.0.1")
