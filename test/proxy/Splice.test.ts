import { connect, createServer, type Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { splice } from "../../src/proxy/Splice.ts"

/** Two ends of a connection on loopback: the one that is spliced, and its peer, who keeps its half open. */
const pair = Effect.acquireRelease(
  Effect.callback<{ readonly near: Socket; readonly peer: Socket }>((resume) => {
    const server = createServer({ allowHalfOpen: true }, (near) => {
      server.close()
      resume(Effect.succeed({ near, peer }))
    })
    let peer: Socket
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = address !== null && typeof address === "object" ? address.port : 0
      peer = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
      peer.on("error", () => {})
    })
  }),
  ({ near, peer }) =>
    Effect.sync(() => {
      near.destroy()
      peer.destroy()
    })
)

const next = (socket: Socket, event: "end" | "data") =>
  Effect.callback<string>((resume) => {
    socket.once(event, (data?: Buffer) => resume(Effect.succeed(String(data ?? ""))))
    socket.resume()
  }).pipe(Effect.timeout("10 seconds"))

describe("two joined connections of which one side has ended its half", () => {
  it.live("end when the other side stays silent, as one does that has vanished", () =>
    Effect.gen(function* () {
      const client = yield* pair
      const server = yield* pair
      server.peer.end()
      yield* splice(client.near, server.near, 50).pipe(Effect.timeout("10 seconds"))
      assert.isTrue(client.near.destroyed && server.near.destroyed)
    }).pipe(Effect.scoped)
  )

  it.live("have no limit while neither has ended; then the other half still gets through", () =>
    Effect.gen(function* () {
      const client = yield* pair
      const server = yield* pair
      const joined = yield* Effect.forkChild(splice(client.near, server.near, 60_000), { startImmediately: true })
      assert.deepStrictEqual([client.near.timeout, server.near.timeout], [0, 0])
      client.peer.end("question")
      assert.strictEqual(yield* next(server.peer, "data"), "question")
      yield* next(server.peer, "end")
      assert.deepStrictEqual([client.near.timeout, server.near.timeout], [0, 60_000])
      server.peer.end("answer")
      assert.strictEqual(yield* next(client.peer, "data"), "answer")
      yield* Effect.timeout(Fiber.join(joined), "10 seconds")
    }).pipe(Effect.scoped)
  )
})
