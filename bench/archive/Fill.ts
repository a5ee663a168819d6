/** A project's database of about so many bytes, as the project server writes it. Arguments: its path, the bytes. */
import { createHash } from "node:crypto"
import { createReadStream, statSync } from "node:fs"
import { crc32 } from "node:zlib"
import { open } from "../../src/project-server/DocumentDatabase.ts"

const [path = "", least = ""] = process.argv.slice(2)
const documentBytes = 2_048
/** Files end within so much of the bytes asked for. */
const steps = 64
const perStep = Math.ceil(Number(least) / steps / documentBytes)

const database = open(path)
for (let version = 0; statSync(path).size < Number(least);) {
  database.begin()
  for (let of = 0; of < perStep; of++) {
    version++
    const text = createHash("sha256")
      .update(String(version))
      .digest("hex")
      .repeat(documentBytes / 64)
    database.put(`document-${String(version).padStart(9, "0")}`, JSON.stringify({ text }), version)
  }
  database.commit(version)
  if (!database.checkpoint()) throw new Error("the log was not empty")
}
database.close()

const sha256 = createHash("sha256")
let sum = 0
for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
  sha256.update(piece)
  sum = crc32(piece, sum)
}
console.log(JSON.stringify({ size: statSync(path).size, sha256: sha256.digest("hex"), crc32: sum }))
