// Ignores SIGTERM.
import { createServer } from "node:http"

process.on("SIGTERM", () => console.log("no"))
createServer((request, response) => response.end("here")).listen(process.env.PORT, "127.0.0.1")
