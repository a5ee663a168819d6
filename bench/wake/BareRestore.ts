/**
 * The least that a restore costs, as a process of its own: what a server notes before and after it, the download beside
 * the database, SQLite's examination, the rename, and the database opened. Arguments: its volume, the object's URL and checksum. Any request to its port begins
 * it.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { createServer, get, type IncomingMessage } from "node:http"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Transform } from "node:stream"
import { text } from "node:stream/consumers"
import { pipeline } from "node:stream/promises"
import { pathToFileURL } from "node:url"
import * as DocumentDatabase from "../../src/project-server/DocumentDatabase.ts"

const [folder = "", url = "", checksum = ""] = process.argv.slice(2)
const database = join(folder, "project.db")

const sync = (path: string) => {
  const descriptor = fs.openSync(path, "r")
  fs.fsyncSync(descriptor)
  fs.closeSync(descriptor)
}

const note = (state: string) => {
  const path = join(folder, "state.json")
  fs.writeFileSync(`${path}.tmp`, state, { flush: true })
  fs.renameSync(`${path}.tmp`, path)
  sync(folder)
}

const download = async (path: string) => {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(url, { agent: false }, resolve).on("error", reject)
  })
  const hash = createHash("sha256")
  const hashed = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      hash.update(chunk)
      next(null, chunk)
    }
  })
  await pipeline(response, hashed, fs.createWriteStream(path, { highWaterMark: 256 * 1024, flags: "wx", flush: true }))
  return hash.digest("hex")
}

const examine = (path: string) => {
  const opened = new DatabaseSync(new URL(`${pathToFileURL(path).href}?immutable=1`), { readOnly: true })
  const [row] = opened.prepare("PRAGMA integrity_check(1)").all()
  opened.close()
  if (row?.["integrity_check"] !== "ok") throw new Error("the database is damaged")
}

const restore = async (body: string) => {
  note(body)
  const temporary = `${database}.restoring`
  if ((await download(temporary)) !== checksum) throw new Error("another checksum")
  examine(temporary)
  for (const end of ["", "-wal", "-shm", "-journal"]) fs.rmSync(`${database}${end}`, { force: true })
  sync(folder)
  fs.renameSync(temporary, database)
  sync(folder)
  DocumentDatabase.open(database)
  note(body)
}

const server = createServer((request, response) => {
  text(request)
    .then(restore)
    .then(() => response.end("{}"))
    .catch((error: unknown) => {
      console.error(error)
      response.destroy()
    })
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  console.error(`listening on port ${typeof address === "object" && address !== null ? address.port : 0}`)
})
