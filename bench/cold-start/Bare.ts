/** The least that a cold start can be: spawn, wait for its first line, ask. Arguments: bundle, folder, how many at once. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { ask, freePort, spread } from "./Ask.ts"

const [bundle = "", folder = "", count = "1"] = process.argv.slice(2)
const ports = await spread(Number(count), freePort)
const children: Array<ChildProcess> = []
const begun = performance.now()
try {
  await spread(ports.length, async (at) => {
    const data = join(folder, `p${at}`)
    await mkdir(data, { recursive: true })
    const own = {
      PORT: String(ports[at]),
      PROJECT_ID: `p${at}`,
      DATA_DIR: data,
      DATABASE_PATH: join(data, "project.db")
    }
    const env = { ...process.env, ...own }
    const child = spawn(process.execPath, [bundle], { env, stdio: ["ignore", "ignore", "pipe"] })
    children.push(child)
    await once(child.stderr, "data")
    await ask(ports[at] ?? 0, "localhost")
  })
  console.log(performance.now() - begun)
} finally {
  for (const child of children) child.kill("SIGKILL")
}
