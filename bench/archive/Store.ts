/**
 * The object store of both: GET streams a file of OBJECTS, PUT counts its bytes, sums them (CRC-32: many times as fast as
 * what is measured hashes) and drops them. `GET /status` tells what the last PUT brought, and the CPU used up to now.
 */
import { createReadStream, statSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { crc32 } from "node:zlib"

const folder = process.env["OBJECTS"] ?? ""
let received = { size: 0, crc32: 0 }

const put = async (request: IncomingMessage, response: ServerResponse) => {
  let size = 0
  let sum = 0
  request.on("data", (piece: Buffer) => {
    size += piece.length
    sum = crc32(piece, sum)
  })
  await new Promise((resolve, reject) => request.once("end", resolve).once("error", reject))
  received = { size, crc32: sum }
  response.end()
}

const get = (path: string, response: ServerResponse) => {
  response.setHeader("content-length", statSync(path).size)
  return pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), response)
}

const server = createServer((request, response) => {
  if (request.url === "/status") {
    const { system, user } = process.cpuUsage()
    response.end(JSON.stringify({ received, cpuMs: (system + user) / 1_000 }))
    return
  }
  const answered = request.method === "PUT" ? put(request, response) : get(join(folder, request.url ?? ""), response)
  answered.catch(() => response.destroy())
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  console.log(JSON.stringify({ port: typeof address === "object" && address !== null ? address.port : 0 }))
})
