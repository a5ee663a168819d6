/** Many idle connections through an orchestrator: what they cost while they are open, and what stays when they are gone. */
import * as Effect from "effect/Effect"
import { WebSocket } from "ws"
import { eventually } from "../../support/eventually.ts"
import { inspect } from "./Inspected.ts"
import { orchestrator } from "./Running.ts"

export interface HoldOptions {
  readonly dataDir: string
  readonly connections: number
  readonly projects: number
  readonly seconds: number
  progress(text: string): Effect.Effect<void>
}

/** Beyond noise: what one connection costs, over a twentieth of them, and a fixed part for what was compiled meanwhile. */
const heapSlack = 4 * 1024 * 1024
const descriptorSlack = 8

const open = (url: string) =>
  Effect.callback<WebSocket, Error>((resume) => {
    const socket = new WebSocket(url, { perMessageDeflate: false })
    socket.once("open", () => resume(Effect.succeed(socket)))
    socket.once("error", (error) => resume(Effect.fail(error)))
  }).pipe(Effect.timeout("120 seconds"))

export const hold = (options: HoldOptions) =>
  Effect.gen(function* () {
    const { connections, projects, seconds, progress } = options
    const running = yield* orchestrator(options.dataDir, ["--idle-timeout", "0"], { NODE_OPTIONS: "" }, [
      "--inspect=127.0.0.1:0"
    ])
    const debuggerUrl = /ws:\/\/\S+/.exec(running.logs())?.[0] ?? ""
    const { look } = yield* inspect(debuggerUrl, running.pid)
    const base = running.url.replace("http", "ws")
    const url = (index: number) => `${base}/projects/p${index % projects}/ws`
    // Every project's server runs, and everything that a connection needs was needed once.
    const warmUp = yield* Effect.forEach(
      Array.from({ length: projects * 5 }, (_, i) => i),
      (i) => open(url(i)),
      {
        concurrency: 8
      }
    )
    const close = (sockets: ReadonlyArray<WebSocket>) =>
      Effect.gen(function* () {
        for (const socket of sockets) socket.close(1000)
        yield* eventually(Effect.map(running.status, ({ totals }) => totals.connections === 0))
      })
    yield* close(warmUp)
    yield* progress(`${projects} servers run; opening ${connections} connections …`)
    const before = yield* look
    const sockets = yield* Effect.acquireRelease(
      Effect.forEach(
        Array.from({ length: connections }, (_, i) => i),
        (i) => open(url(i)),
        { concurrency: 50 }
      ),
      (sockets) => Effect.sync(() => sockets.forEach((socket) => socket.terminate()))
    )
    yield* progress(`holding them for ${seconds} s …`)
    yield* Effect.sleep(seconds * 1000)
    const during = yield* look
    const { totals } = yield* running.status
    yield* close(sockets)
    const after = yield* look
    const leaked =
      after.heap - before.heap > heapSlack + (during.heap - before.heap) / 20 ||
      after.descriptors - before.descriptors > descriptorSlack
    return {
      connections,
      projects,
      seconds,
      alive: totals.connections,
      before,
      during,
      after,
      heapPerConnection: (during.heap - before.heap) / connections,
      rssPerConnection: (during.rss - before.rss) / connections,
      leaked
    }
  })
