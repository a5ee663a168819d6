/** Clients of an orchestrator, one for each of so many projects, all at once. Arguments: its port, how many, their name. */
import * as http from "node:http"
import * as net from "node:net"
import { fileURLToPath } from "node:url"

export const spread = <A>(count: number, one: (at: number) => Promise<A>): Promise<ReadonlyArray<A>> =>
  Promise.all(Array.from({ length: count }, (_, at) => one(at)))

export const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
    })
  })

/** Connects, and waits for a whole answer. */
export const ask = (port: number, host: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path: "/", headers: { host }, agent: false }, (response) => {
      if (response.statusCode === 200) response.resume().on("end", resolve)
      else reject(new Error(`${host} answers ${response.statusCode}`))
    })
    request.on("error", reject)
  })

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, count, name = "p"] = process.argv.slice(2)
  // The orchestrator's own page: the base's client has asked somebody before, too.
  await ask(Number(port), "127.0.0.1")
  const begun = performance.now()
  await spread(Number(count), (at) => ask(Number(port), `${name}${at}.localhost`))
  console.log(performance.now() - begun)
}
