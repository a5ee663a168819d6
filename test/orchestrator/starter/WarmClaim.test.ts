/** What is said to a warm server over HTTP, and what its answers mean. */
import { createServer, type RequestListener } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { WarmClaim } from "../../../src/orchestrator/warm/WarmClaim.ts"

const secret = Redacted.make("the-secret-of-one-server")
const request = { project_id: "red", project_uid: "u", deploy_key: "k", generation: 1, idle_timeout_seconds: 0 }

const listening = (listener: RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
      const server = createServer(listener)
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        const close = () => {
          server.close()
          server.closeAllConnections()
        }
        resume(Effect.succeed({ port, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const answering = (status: number, body: string) =>
  Effect.map(
    listening((request, response) => void request.resume().on("end", () => response.writeHead(status).end(body))),
    ({ port }) => port
  )

const endless = Effect.map(
  listening((_request, response) => {
    const more = () => {
      while (response.write("x".repeat(10_000))) {
        // Until nobody takes it.
      }
    }
    response.on("drain", more)
    more()
  }),
  ({ port }) => port
)

const configure = (port: number) => Effect.flatMap(WarmClaim, (it) => it.configure(port, secret, request))
const projectOf = (port: number) => Effect.flatMap(WarmClaim, (it) => it.projectOf(port, "/health"))

describe("configure", () => {
  it.live("sends the request with the server's secret, on a connection of its own", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { port } = yield* listening((request, response) => {
        let body = ""
        request.on("data", (chunk: Buffer) => (body += chunk.toString()))
        request.on("end", () => {
          const { authorization, connection } = request.headers
          seen.push(request.method, request.url, authorization, connection, JSON.parse(body))
          response.end('{"ready":true,"restored_bytes":0}')
        })
      })
      assert.isTrue(yield* configure(port))
      assert.deepStrictEqual(seen, [
        "POST",
        "/internal/configure",
        `Bearer ${Redacted.value(secret)}`,
        "close",
        request
      ])
    }).pipe(Effect.provide(WarmClaim.layer))
  )

  it.live("is not done yet where the answer is 202", () =>
    Effect.gen(function* () {
      assert.isFalse(yield* configure(yield* answering(202, '{"progress":{"phase":"opening","bytes":0}}')))
    }).pipe(Effect.provide(WarmClaim.layer))
  )

  it.live("fails by any other answer, and by none, and never tells the secret", () =>
    Effect.gen(function* () {
      const gone = yield* Effect.scoped(answering(200, ""))
      const ports = {
        "answered with 409": yield* answering(409, '{"error":"stale","newest_generation":7}'),
        "answered with 401": yield* answering(401, "{}"),
        "not the machine protocol's": yield* answering(200, "<html>"),
        "not ready": yield* answering(200, '{"ready":false,"restored_bytes":0}'),
        "has no end": yield* endless,
        "no answer": gone
      }
      for (const [detail, port] of Object.entries(ports)) {
        const { message } = yield* Effect.flip(configure(port))
        assert.include(message, detail)
        assert.notInclude(message, Redacted.value(secret))
      }
    }).pipe(Effect.provide(WarmClaim.layer))
  )
})

describe("a health answer", () => {
  it.live("says whose the server is, or nothing of that", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* projectOf(yield* answering(200, '{"status":"ok","project_id":"red"}')), "red")
      for (const body of ['{"project_id":null}', '{"ok":true}', "OK", ""]) {
        assert.isNull(yield* projectOf(yield* answering(200, body)), body)
      }
    }).pipe(Effect.provide(WarmClaim.layer))
  )
})
