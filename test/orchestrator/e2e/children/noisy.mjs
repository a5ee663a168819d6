// Writes 100 MB to its standard output before it says how much of it is out.
import { createServer } from "node:http"

const line = `${"x".repeat(1023)}\n`
let written = 0
const write = () => {
  while (written < 100 * 1024) {
    written += 1
    if (!process.stdout.write(line)) return process.stdout.once("drain", write)
  }
}
createServer((request, response) => response.end(String(written))).listen(process.env.PORT, "127.0.0.1", write)
