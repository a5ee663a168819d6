/** A project's life on one host, as README tells it: come, write, leave, be stopped, come back, find the data. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { WebSocket } from "ws"
import * as Documents from "../../../src/client/Documents.ts"
import { isAlive, markOf } from "../../../src/process/ProcessMark.ts"
import { ask, processesNaming } from "../../e2e/Platform.ts"
import { eventually } from "../../support/eventually.ts"
import { orchestrator, temporaryFolder } from "./Running.ts"

/** Says these things one after the other, each once the one before was answered; the last answer. */
const say = (url: string, ...texts: ReadonlyArray<string>) =>
  Effect.callback<string, Error>((resume) => {
    const socket = new WebSocket(url)
    const left = [...texts]
    socket.on("error", (error) => resume(Effect.fail(error)))
    socket.on("message", (data) => {
      const next = left.shift()
      if (next !== undefined) return socket.send(next)
      socket.close(1000)
      socket.once("close", () => resume(Effect.succeed(String(data))))
    })
    return Effect.sync(() => socket.terminate())
  })

describe("valet orchestrator", () => {
  it.live("stops the reference server after the idle time and starts it again with its data", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryFolder
      const running = yield* orchestrator(dataDir, ["--idle-timeout", "1s"])
      const url = `${running.url.replace("http", "ws")}/projects/alpha/ws`
      yield* Effect.scoped(
        Effect.gen(function* () {
          const documents = yield* Documents.connect(url)
          yield* documents.put("greeting", { text: "hello" })
          const server = yield* running.server("alpha")
          assert.strictEqual(server?.state, "running")
          assert.strictEqual(server?.connections, 1)
        })
      )
      const first = yield* running.server("alpha")
      const mark = yield* markOf(first?.pid ?? 0)
      yield* running.stopped("alpha")
      if (mark !== null) assert.isFalse(yield* isAlive(mark))
      const documents = yield* Documents.connect(url)
      assert.deepStrictEqual((yield* documents.get("greeting")).value, { text: "hello" })
      const again = yield* running.server("alpha")
      assert.notStrictEqual(again?.pid, first?.pid)
      assert.strictEqual((yield* running.status).totals.spawns, 2)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("does the same with a server that knows nothing of Valet", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryFolder
      const running = yield* orchestrator(dataDir, ["--idle-timeout", "1s", "--", "node", "examples/notes-server.mjs"])
      const url = `${running.url.replace("http", "ws")}/projects/notes/`
      assert.strictEqual(yield* say(url, "milk", "bread"), '["milk","bread"]')
      yield* running.stopped("notes")
      assert.strictEqual(yield* say(url), '["milk","bread"]')
      const other = yield* ask(running.url, { path: "/projects/other/" })
      assert.strictEqual(other.body, "[]")
      assert.strictEqual((yield* running.status).totals.spawns, 3)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("at SIGTERM servers close their sockets with 1001, it ends with 0 and leaves no process", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryFolder
      const running = yield* orchestrator(dataDir, ["--warm-servers", "1"])
      const documents = yield* Documents.connect(`${running.url.replace("http", "ws")}/projects/alpha/ws`)
      yield* documents.put("k", 1)
      running.child.kill("SIGTERM")
      assert.strictEqual(yield* documents.closed, 1001)
      assert.strictEqual(yield* running.ended, 0)
      yield* eventually(Effect.map(processesNaming(dataDir), (pids) => pids.length === 0))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("a second one on the same folder is refused, and says by whom", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryFolder
      const running = yield* orchestrator(dataDir, [])
      const second = yield* Effect.exit(orchestrator(dataDir, []))
      assert.isTrue(Exit.isFailure(second))
      assert.include(String(second), `in use by an orchestrator, process ${running.pid}: stop it`)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
