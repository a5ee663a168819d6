import { get } from "node:http"
import { connect } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { listen } from "../../src/proxy/Listener.ts"

const limits = {
  headersTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  maxConnections: 100,
  maxPipelined: 3,
  tcpKeepAliveMs: 30_000
}

/** How many of so many pipelined requests are begun, none of which is ever answered; whether the connection was cut. */
const pipelined = (requests: number) =>
  Effect.gen(function* () {
    let begun = 0
    let whole = () => {}
    const handle = () =>
      Effect.suspend(() => {
        begun += 1
        if (begun === requests) whole()
        return Effect.never
      })
    const { port } = yield* listen({ host: "127.0.0.1", port: 0, grace: 0, upgrades: false, limits, handle })
    const outcome = yield* Effect.callback<"cut" | "open">((resume) => {
      whole = () => resume(Effect.succeed("open"))
      const socket = connect({ port, host: "127.0.0.1" })
      socket.on("error", () => {})
      socket.on("close", () => resume(Effect.succeed("cut")))
      socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(requests))
      return Effect.sync(() => socket.destroy())
    }).pipe(Effect.timeout("10 seconds"))
    return { begun, outcome }
  }).pipe(Effect.scoped)

/** The status of an answer; null where the connection was cut without one. */
const asked = (port: number, path: string) =>
  Effect.callback<number | null>((resume) => {
    const request = get({ port, host: "127.0.0.1", path, agent: false }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode ?? 0))
    })
    request.on("error", () => resume(Effect.succeed(null)))
    return Effect.sync(() => request.destroy())
  }).pipe(Effect.timeout("10 seconds"))

describe("what goes wrong without a fiber", () => {
  it.live("is logged and cuts its connection; the others are answered", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ cause, message }) => void logged.push(`${String(message)} ${Cause.pretty(cause)}`))
    return Effect.gen(function* () {
      const { port } = yield* listen({
        host: "127.0.0.1",
        port: 0,
        grace: "1 minute",
        upgrades: false,
        handle: () => Effect.never,
        tryHandle: ({ request, response }, rest) => {
          if (request.url !== "/") throw new Error(`what nobody thought of at ${request.url}`)
          response?.once("close", () => rest()).end()
          return () => {}
        }
      })
      assert.isNull(yield* asked(port, "/early"))
      assert.strictEqual(yield* asked(port, "/"), 200)
      assert.lengthOf(logged, 1)
      assert.include(logged[0], "what nobody thought of at /early")
    }).pipe(Effect.scoped, Effect.timeout("10 seconds"), Effect.provide(Logger.layer([logger])))
  })
})

describe("requests of one connection that are not answered yet", () => {
  it.live("are begun side by side up to the limit", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* pipelined(3), { begun: 3, outcome: "open" })
    })
  )

  it.live("cost the connection beyond it, and none is begun any more", () =>
    Effect.gen(function* () {
      const { begun, outcome } = yield* pipelined(50)
      assert.strictEqual(outcome, "cut")
      assert.isAtMost(begun, 3)
    })
  )
})
