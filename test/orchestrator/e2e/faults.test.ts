/** Servers that misbehave in every way a process can, under a real orchestrator. */
import { request } from "node:http"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { isAlive, markOf } from "../../../src/process/ProcessMark.ts"
import { ask, residentMb } from "../../e2e/Platform.ts"
import { eventually } from "../../support/eventually.ts"
import { orchestrator, temporaryFolder } from "./Running.ts"

const children = new URL("children/", import.meta.url).pathname

const projects = {
  streaming: "stream.mjs",
  deaf: "deaf.mjs",
  dies: "dies.mjs",
  stubborn: "stubborn.mjs",
  noisy: "noisy.mjs",
  broken: "broken.mjs"
}

class Running extends Context.Service<Running, Effect.Success<ReturnType<typeof orchestrator>>>()("test/Running") {
  static readonly layer = Layer.effect(
    Running,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const dataDir = yield* temporaryFolder
      for (const [id, child] of Object.entries(projects)) {
        yield* fs.makeDirectory(`${dataDir}/${id}`)
        const settings = { command: ["node", children + child], idle_timeout: id === "stubborn" ? 1 : 300 }
        yield* fs.writeFileString(`${dataDir}/${id}/valet.json`, JSON.stringify(settings))
      }
      return yield* orchestrator(dataDir, ["--spawn-timeout", "5s", "--stop-grace", "1s", "--existing-only"])
    })
  ).pipe(Layer.provideMerge(NodeServices.layer))
}

const get = (path: string) => Effect.flatMap(Running, ({ url }) => ask(url, { path }))

layer(Running.layer, { excludeTestServices: true, timeout: "60 seconds" })("an orchestrator", (it) => {
  it.effect(
    "cuts the client of a server that is killed in the middle of its answer, and serves the next from a new one",
    () =>
      Effect.gen(function* () {
        const running = yield* Running
        const first = (yield* get("/projects/streaming/")).body
        const outcome = yield* Effect.callback<string>((resume) => {
          const sent = request(`${running.url}/projects/streaming/stream`, (response) => {
            response.once("data", () => process.kill(Number(first), "SIGKILL"))
            response.on("end", () => resume(Effect.succeed("a clean end")))
            response.on("error", (error) =>
              resume(Effect.succeed("code" in error ? String(error.code) : error.message))
            )
          })
          sent.end()
          return Effect.sync(() => sent.destroy())
        }).pipe(Effect.timeout("20 seconds"))
        assert.strictEqual(outcome, "ECONNRESET")
        // Until its end is seen, its port may take a request and reset it: a 502.
        yield* eventually(Effect.map(running.server("streaming"), (server) => server?.pid !== Number(first)))
        const next = yield* get("/projects/streaming/")
        assert.strictEqual(next.status, 200)
        const second = next.body
        assert.match(second, /^\d+$/)
        assert.notStrictEqual(second, first)
        // None where its end was seen when nobody used it any more, before the next request.
        assert.isAtMost((yield* running.server("streaming"))?.restarts ?? 0, 1)
      })
  )

  it.effect("refuses with the last output when a server does not listen in time, and leaves none of it running", () =>
    Effect.gen(function* () {
      const running = yield* Running
      const answer = yield* get("/projects/deaf/")
      assert.strictEqual(answer.status, 503)
      assert.isTrue(Number(answer.headers["retry-after"]) > 0)
      assert.include(answer.body, "I will not listen")
      assert.strictEqual((yield* running.server("deaf"))?.pid ?? null, null)
    })
  )

  it.effect("backs off from a server that dies of every request, then fails at once with its last words", () =>
    Effect.gen(function* () {
      const running = yield* Running
      yield* eventually(
        Effect.gen(function* () {
          const answer = yield* get("/projects/dies/")
          assert.include([502, 503], answer.status)
          return (yield* running.server("dies"))?.state === "failed"
        })
      )
      const answer = yield* get("/projects/dies/")
      assert.strictEqual(answer.status, 503)
      assert.include(answer.body, "out of luck")
      assert.isTrue(Number(answer.headers["retry-after"]) > 30)
      assert.isAtMost((yield* running.server("dies"))?.restarts ?? 0, 5)
    })
  )

  it.effect("kills a server that ignores SIGTERM once its grace is over", () =>
    Effect.gen(function* () {
      const running = yield* Running
      assert.strictEqual((yield* get("/projects/stubborn/")).body, "here")
      const server = yield* running.server("stubborn")
      const mark = yield* Effect.flatMap(markOf(server?.pid ?? 0), Effect.fromNullishOr)
      yield* running.stopped("stubborn")
      assert.isFalse(yield* isAlive(mark))
      assert.strictEqual((yield* get("/projects/stubborn/")).body, "here")
    })
  )

  it.effect("takes 100 MB of output without growing or filling the disk, and goes on serving", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const running = yield* Running
      yield* get("/projects/noisy/")
      const before = yield* residentMb(running.pid)
      yield* eventually(Effect.map(get("/projects/noisy/"), ({ body }) => body === String(100 * 1024)))
      assert.isBelow((yield* residentMb(running.pid)) - before, 64)
      const logs = `${running.data_dir}/.valet/logs`
      let total = 0
      for (const name of yield* fs.readDirectory(logs)) total += Number((yield* fs.stat(`${logs}/${name}`)).size)
      assert.isAtMost(total, 21 * 1024 * 1024)
      assert.strictEqual((yield* running.server("noisy"))?.last_output.length, 50)
    })
  )

  it.effect("never passes a part of an answer off as a whole one, and says 502 to what is none", () =>
    Effect.gen(function* () {
      const running = yield* Running
      assert.strictEqual((yield* get("/projects/broken/")).body, "ok")
      const half = yield* Effect.callback<string>((resume) => {
        const sent = request(`${running.url}/projects/broken/half`, (response) => {
          let body = ""
          response.on("data", (chunk: Buffer) => (body += chunk.toString()))
          response.on("end", () => resume(Effect.succeed(`a clean end after ${body}`)))
          response.on("error", () => resume(Effect.succeed(`cut after ${body}`)))
        })
        sent.end()
        return Effect.sync(() => sent.destroy())
      }).pipe(Effect.timeout("20 seconds"))
      assert.strictEqual(half, "cut after only this")
      for (const path of ["/none", "/garbage"]) {
        assert.strictEqual((yield* get(`/projects/broken${path}`)).status, 502, path)
      }
      assert.strictEqual((yield* get("/projects/broken/")).body, "ok")
    })
  )
})
