/**
 * What the two moves cost at least, without Effect and for one caller who says the right thing: the same two calls of the
 * machine protocol with the work that they ask for. As in the server, the checksum is of the file at rest, apart from what
 * is sent, so that a byte misread on the way shows; a file that takes long to examine is examined in a thread, as health
 * and polls are to be answered meanwhile; and three things are on disk before what follows from them: the generation,
 * the file, what became of it.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as http from "node:http"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { text } from "node:stream/consumers"
import { pipeline } from "node:stream/promises"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import type { ArchiveRequest, ConfigureRequest } from "../../src/contract/MachineProtocol.ts"
import { type DocumentDatabase, open } from "../../src/project-server/DocumentDatabase.ts"

const folder = process.env["DATA_DIR"] ?? ""
const path = join(folder, "project.db")
const pieces = { highWaterMark: 256 * 1024 } as const
let database: DocumentDatabase | undefined

const sync = (path: string) => {
  const descriptor = fs.openSync(path, "r")
  fs.fsyncSync(descriptor)
  fs.closeSync(descriptor)
}

const record = (state: object) => {
  const file = join(folder, "state.json")
  fs.writeFileSync(`${file}.tmp`, JSON.stringify(state), { flush: true })
  fs.renameSync(`${file}.tmp`, file)
  sync(folder)
}

const examine = (Database: typeof DatabaseSync, url: string): unknown => {
  const database = new Database(new URL(url), { readOnly: true })
  const row = database.prepare("PRAGMA integrity_check(1)").get()
  database.close()
  return row?.["integrity_check"]
}

const inThread = (url: string) =>
  new Promise<unknown>((resolve, reject) => {
    const script = `
      const { parentPort, workerData } = require("node:worker_threads")
      const examine = ${examine.toString()}
      parentPort.postMessage(examine(require("node:sqlite").DatabaseSync, workerData))`
    new Worker(script, { eval: true, workerData: url }).once("message", resolve).once("error", reject)
  })

const smallBytes = 4 * 1024 * 1024

const check = async (path: string) => {
  const url = `${pathToFileURL(path).href}?immutable=1`
  const said = fs.statSync(path).size <= smallBytes ? examine(DatabaseSync, url) : await inThread(url)
  if (said !== "ok") throw new Error("the integrity check failed")
}

const digest = async (path: string) => {
  const hash = createHash("sha256")
  const piece = Buffer.allocUnsafe(pieces.highWaterMark)
  const file = await fs.promises.open(path)
  for (;;) {
    const { bytesRead } = await file.read(piece, 0, piece.length, null)
    if (bytesRead === 0) break
    hash.update(piece.subarray(0, bytesRead))
  }
  await file.close()
  return hash.digest("hex")
}

const answerTo = (request: http.ClientRequest) =>
  new Promise<http.IncomingMessage>((resolve, reject) => request.once("response", resolve).once("error", reject))

const restore = async ({ generation, restore }: ConfigureRequest) => {
  if (restore === undefined) throw new Error("nothing to restore")
  record({ generation })
  const part = `${path}.restoring`
  const hash = createHash("sha256")
  const response = await answerTo(http.get(restore.download_url, { agent: false }))
  response.on("data", (piece: Buffer) => hash.update(piece))
  await pipeline(response, fs.createWriteStream(part, { ...pieces, flags: "wx", flush: true }))
  if (hash.digest("hex") !== restore.r2_checksum) throw new Error("another checksum")
  await check(part)
  fs.renameSync(part, path)
  sync(dirname(path))
  database = open(path)
  record({ generation, ready: true })
  return { ready: true, restored_bytes: fs.statSync(path).size }
}

const archive = async ({ generation, headers, r2_key, upload_url }: ArchiveRequest) => {
  record({ generation, ready: true })
  if (database?.checkpoint() !== true) throw new Error("the log is not empty")
  database.close()
  await check(path)
  const sha256 = await digest(path)
  record({ generation, ready: true, sealed: true })
  const { size } = fs.statSync(path)
  const request = http.request(upload_url, {
    method: "PUT",
    agent: false,
    headers: { ...headers, "content-length": String(size) }
  })
  const answered = answerTo(request)
  // The store may answer and hang up before the pipeline has seen its own end.
  pipeline(fs.createReadStream(path, pieces), request).catch((cause: Error) => request.destroy(cause))
  const { statusCode } = (await answered).resume()
  if (statusCode !== 200) throw new Error(`the store answered ${statusCode}`)
  return { r2_key, r2_checksum: sha256, size }
}

const act = async (request: http.IncomingMessage): Promise<object> => {
  const body = await text(request)
  switch (request.url) {
    case "/internal/configure":
      return restore(JSON.parse(body))
    case "/internal/archive-to-r2":
      return archive(JSON.parse(body))
    default:
      return {}
  }
}

http
  .createServer((request, response) => {
    act(request).then(
      (answer) => response.end(JSON.stringify(answer)),
      (cause: unknown) => response.writeHead(500).end(String(cause))
    )
  })
  .listen({ host: "127.0.0.1", port: Number(process.env["PORT"]) })
