/**
 * What a router of that kind costs at least: `node:http`, a bounded Map from project to answer, and on a miss one query
 * with the same driver, the same statement and as many connections. Nothing is validated, counted or invalidated.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PgPool from "@effect/sql-pg/PgPool"

const statement = `
  SELECT p.project_id, p.state, p.operation, p.data_unavailable, m.machine_id
  FROM valet.projects p LEFT JOIN valet.machines m ON m.name = p.machine
  WHERE p.project_id = $1`

const half = 50_000
let young = new Map<string, string>()
let old = new Map<string, string>()
const remember = (id: string, replay: string) => {
  if (young.size >= half) {
    old = young
    young = new Map()
  }
  young.set(id, replay)
}

const replayOf = (machineId: unknown): string =>
  `instance=${String(machineId)};app=valet-projects;timeout=10s;fallback=prefer_self`

await Effect.gen(function* () {
  const pool = yield* PgPool.make({
    url: yield* Config.Redacted("DATABASE_URL"),
    connectTimeout: Duration.seconds(3),
    maxConnections: 4,
    multiplexConcurrency: 16,
    multiplex: true,
    prepare: true
  })
  const read = (id: string) =>
    pool
      .use((connection) => connection.query(statement, [id], true))
      .pipe(
        Effect.map(({ rows }) => {
          const replay = replayOf(rows[0]?.["machine_id"])
          remember(id, replay)
          return replay
        })
      )
  const run = Effect.runForkWith(yield* Effect.context())
  const withReplay = (host: string | undefined, use: (replay: string) => void) => {
    const id = host === undefined ? "" : host.slice(0, host.indexOf("."))
    const known = young.get(id) ?? old.get(id)
    if (known !== undefined) return use(known)
    run(Effect.map(read(id), use))
  }
  const server = createServer((request, response) =>
    withReplay(request.headers.host, (replay) => {
      const closing = request.headers.upgrade === undefined ? {} : { connection: "close" }
      response.writeHead(307, { "fly-replay": replay, "content-length": "0", ...closing })
      response.end()
    })
  )
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    console.log(JSON.stringify({ port }))
  })
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.runPromise)
