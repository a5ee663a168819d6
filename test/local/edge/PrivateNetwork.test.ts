import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PrivateNetwork } from "../../../src/local/edge/PrivateNetwork.ts"
import { closedPort, fakeMachines, type Machines, send, serve } from "./support.ts"

const network = (machines: Machines) =>
  Layer.build(PrivateNetwork.layer().pipe(Layer.provide(machines.layer))).pipe(
    Effect.map((context) => Context.get(context, PrivateNetwork))
  )

const echo = serve((request, response) => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    response.writeHead(202, { "x-own": "1", trailer: "x-sum" })
    const body = Buffer.concat(chunks)
    response.write(
      JSON.stringify({ method: request.method, path: request.url, headers: request.headers, length: body.length })
    )
    response.addTrailers({ "x-sum": "1" })
    response.end()
  })
})

describe("the private network", () => {
  it.live("takes off the prefix and nothing else, and adds nothing", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      machines.put({ id: "m1", port: yield* echo })
      const { port, urlTemplate } = yield* network(machines)
      assert.strictEqual(urlTemplate, `http://127.0.0.1:${port}/{machine_id}`)
      const reply = yield* send(port, {
        method: "POST",
        path: "/m1/internal/configure?x=1",
        headers: { authorization: "Bearer t", "fly-client-ip": "1.2.3.4", "content-length": 3_000_000 },
        body: Buffer.alloc(3_000_000)
      })
      assert.strictEqual(reply.status, 202)
      assert.strictEqual(reply.headers["x-own"], "1")
      assert.deepStrictEqual({ ...reply.trailers }, { "x-sum": "1" })
      const got: { method: string; path: string; headers: Record<string, string>; length: number } = JSON.parse(
        reply.body
      )
      assert.strictEqual(`${got.method} ${got.path} ${got.length}`, "POST /internal/configure?x=1 3000000")
      assert.deepStrictEqual(Object.keys(got.headers).toSorted(), [
        "authorization",
        "connection",
        "content-length",
        "fly-client-ip",
        "host"
      ])
      for (const [path, expected] of [
        ["/m1", "/"],
        ["/m1?y", "/?y"],
        ["/m1//a/%2e%2e", "//a/%2e%2e"]
      ] as const) {
        assert.include((yield* send(port, { path })).body, `"path":"${expected}"`)
      }
    })
  )

  it.live("reaches started machines only, starts none, and closes without an answer", () =>
    Effect.gen(function* () {
      const machines = fakeMachines()
      const up = yield* echo
      for (const state of ["stopped", "suspended", "suspending", "created", "destroyed"]) {
        machines.put({ id: state, state, port: up })
      }
      machines.put({ id: "booting", state: "started", port: null })
      machines.put({ id: "refusing", state: "started", port: yield* closedPort })
      machines.put({ id: "cut", port: yield* serve((request) => request.socket.destroy()) })
      machines.put({ id: "up", port: up })
      const { port } = yield* network(machines)
      for (const path of [...machines.machines.keys(), "unknown", ""].filter((id) => id !== "up")) {
        assert.match(String(yield* Effect.flip(send(port, { path: `/${path}/health` }))), /hang up|ECONNRESET/, path)
      }
      assert.deepStrictEqual(machines.started, [])
      machines.put({ id: "stopped", state: "started" })
      assert.strictEqual((yield* send(port, { path: "/stopped/health" })).status, 202)
    })
  )
})
