/**
 * The least that a cold start can be: spawn, wait for its first line, ask. Arguments: bundle, folder, how many at once, and
 * how many one by one before.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { ask, freePort, spread } from "./Ask.ts"

const [bundle = "", folder = "", count = "1", before = "0"] = process.argv.slice(2)
const children: Array<ChildProcess> = []

const start = async (port: number, name: string) => {
  const data = join(folder, name)
  await mkdir(data, { recursive: true })
  const own = {
    PORT: String(port),
    PROJECT_ID: name,
    DATA_DIR: data,
    DATABASE_PATH: join(data, "project.db")
  }
  const child = spawn(process.execPath, [bundle], {
    env: { ...process.env, ...own },
    stdio: ["ignore", "ignore", "pipe"]
  })
  children.push(child)
  await once(child.stderr, "data")
  await ask(port, "localhost")
}

try {
  for (let at = 0; at < Number(before); at++) await start(await freePort(), `before${at}`)
  const ports = await spread(Number(count), freePort)
  const begun = performance.now()
  await spread(ports.length, (at) => start(ports[at] ?? 0, `p${at}`))
  console.log(performance.now() - begun)
} finally {
  for (const child of children) child.kill("SIGKILL")
}
