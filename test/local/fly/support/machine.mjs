// A machine's program: tells about itself, writes to its volume, and ends in all the ways a program can.
import { createServer, request } from "node:http"
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { spawn } from "node:child_process"
import { join } from "node:path"

const { DATA_DIR: data, PORT: port, VALET_FLY_MACHINE_API: socketPath } = process.env
const file = join(data, "data.txt")
console.log(`up ${process.pid}`)

const own = (path) =>
  new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method: "POST", host: "flaps" }, (answer) => {
      answer.resume()
      answer.on("end", () => resolve(answer.statusCode))
    })
    call.on("error", reject)
    call.end()
  })

const routes = {
  "/": () => ({ pid: process.pid, env: process.env }),
  "/data": () => (existsSync(file) ? readFileSync(file, "utf8") : ""),
  "/write": () => writeFileSync(file, "written"),
  "/exit": (response) => void response.setHeader("connection", "close").req.socket.on("close", () => process.exit(0)),
  "/crash": (response) => void response.setHeader("connection", "close").req.socket.on("close", () => process.exit(3)),
  "/child": () => spawn("sleep", ["1000"], { stdio: "ignore" }).pid,
  "/stubborn": () => process.removeAllListeners("SIGTERM").on("SIGTERM", () => {}) && true,
  "/noise": () => process.stdout.write("x".repeat(100_000)),
  "/suspend": () => own(`/v1/apps/${process.env.FLY_APP_NAME}/machines/${process.env.FLY_MACHINE_ID}/suspend`),
  "/other": () => own(`/v1/apps/${process.env.FLY_APP_NAME}/machines/0123456789abcd/suspend`),
  "/apps": () => own(`/v1/apps`)
}

process.on("SIGWINCH", routes["/child"])

process.on("SIGTERM", () => {
  appendFileSync(file, " stopped")
  process.exit(0)
})

createServer(async (request, response) => {
  const body = await routes[request.url]?.(response)
  response.setHeader("connection", "close")
  response.end(JSON.stringify(body ?? null))
}).listen(Number(port), "127.0.0.1")
