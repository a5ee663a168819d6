/** The server as a process: killed in a storm of writes, and asked to stop. */
import { spawn, type ChildProcess } from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { connect, readDatabase, send, temporaryFolder } from "./harness.ts"

const main = fileURLToPath(new URL("fixtures/main.ts", import.meta.url))

class NeverListened extends Schema.TaggedError<NeverListened>()("NeverListened", {}) {
  override get message() {
    return "the server ended before it listened"
  }
}

interface Running {
  readonly port: number
  readonly child: ChildProcess
  readonly exited: Effect.Effect<number | NodeJS.Signals | null>
}

/** `fileKilobytes`: no file may grow beyond it, as on a full disk. */
const launch = (dataDir: string, fileKilobytes?: number) =>
  Effect.gen(function* () {
    const exit = yield* Deferred.make<number | NodeJS.Signals | null>()
    const listening = yield* Deferred.make<number, NeverListened>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const [command, ...parameters] =
          fileKilobytes === undefined
            ? [process.execPath, main]
            : ["sh", "-c", `trap '' XFSZ; ulimit -f ${fileKilobytes * 2}; exec "$0" "$1"`, process.execPath, main]
        const child = spawn(command, parameters, {
          env: { PROJECT_ID: "demo", DATA_DIR: dataDir, PORT: "0", HOST: "127.0.0.1" },
          stdio: ["ignore", "pipe", "inherit"]
        })
        child.once("exit", (code, signal) => {
          Deferred.doneUnsafe(exit, Effect.succeed(code ?? signal))
          Deferred.doneUnsafe(listening, Effect.fail(new NeverListened()))
        })
        child.stdout.on("data", (chunk: Buffer) => {
          const port = /listening on port (\d+)/.exec(chunk.toString())?.[1]
          if (port !== undefined) Deferred.doneUnsafe(listening, Effect.succeed(Number(port)))
        })
        return child
      }),
      (child) =>
        Effect.andThen(
          Effect.sync(() => child.kill("SIGKILL")),
          Deferred.await(exit)
        )
    )
    const running: Running = { port: yield* Deferred.await(listening), child, exited: Deferred.await(exit) }
    return running
  })

describe("kill -9", () => {
  it.live("in a storm of writes loses none that was acknowledged", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const expected = new Map<string, number>()
      for (let round = 0; round < 2; round++) {
        const { port, child, exited } = yield* launch(folder)
        const enough = yield* Deferred.make<void>()
        const before = expected.size
        const clients = yield* Effect.forEach(Array.from({ length: 8 }), () => connect(port))
        clients.forEach((client, c) => {
          const sent = new Map<number, string>()
          let id = 0
          const next = () => {
            const key = `${round}/${c}/${id}`
            sent.set(id, key)
            client.post({ id: id++, op: "put", key, value: round })
          }
          client.socket.on("message", (data: Buffer) => {
            const answer: unknown = JSON.parse(data.toString())
            if (typeof answer !== "object" || answer === null || !("id" in answer) || !("ok" in answer)) return
            const key = typeof answer.id === "number" ? sent.get(answer.id) : undefined
            if (answer.ok === true && key !== undefined) expected.set(key, round)
            if (expected.size - before > 500) Deferred.doneUnsafe(enough, Effect.void)
            next()
          })
          for (let i = 0; i < 16; i++) next()
        })
        yield* Deferred.await(enough)
        child.kill("SIGKILL")
        assert.strictEqual(yield* exited, "SIGKILL")
        yield* Effect.forEach(clients, (client) => client.closed)
      }
      const { port, child, exited } = yield* launch(folder)
      assert.strictEqual((yield* send(port, "GET", "/documents/0/0/0")).json, 0)
      child.kill("SIGTERM")
      assert.strictEqual(yield* exited, 0)
      const found = readDatabase(`${folder}/project.db`)
      const lost = [...expected].filter(([key, value]) => found.get(key) !== value)
      assert.deepStrictEqual(lost, [])
    })
  )
})

describe("a disk that takes no more", () => {
  it.live("an error means that nothing was written, and everything acknowledged stays", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { port, exited, child } = yield* launch(folder, 3000)
      const written = new Set<string>()
      const refused = new Set<string>()
      const value = JSON.stringify("x".repeat(200_000))
      for (let i = 0; i < 40; i++) {
        const answer = yield* Effect.option(send(port, "PUT", `/documents/k${i}`, { body: value }))
        // No answer: the server stopped rather than say what it does not know.
        if (answer._tag === "None") break
        ;(answer.value.status === 201 ? written : refused).add(`k${i}`)
      }
      assert.isAbove(written.size, 0)
      assert.isBelow(written.size, 40)
      assert.isTrue(refused.size > 0 || (yield* exited) === 1)
      child.kill("SIGKILL")
      yield* exited
      const found = readDatabase(`${folder}/project.db`)
      assert.deepStrictEqual(
        [...written].filter((key) => !found.has(key)),
        []
      )
      assert.deepStrictEqual(
        [...refused].filter((key) => found.has(key)),
        []
      )
    })
  )
})

describe("SIGTERM", () => {
  it.live("closes sockets with 1001, leaves one file, and exits with 0", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { port, child, exited } = yield* launch(folder)
      const client = yield* connect(port)
      yield* client.ask({ id: 1, op: "put", key: "k", value: 1 })
      child.kill("SIGTERM")
      assert.strictEqual(yield* client.closed, 1001)
      assert.strictEqual(yield* exited, 0)
      assert.deepStrictEqual(Fs.readdirSync(folder), ["project.db"])
      assert.strictEqual(readDatabase(`${folder}/project.db`).get("k"), 1)
    })
  )
})

describe("a wrong environment", () => {
  it.live("stops the server before it listens", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      Fs.writeFileSync(`${folder}/valet-state.json`, "{}")
      const error = yield* Effect.flip(launch(folder))
      assert.include(error.message, "before it listened")
    })
  )
})
