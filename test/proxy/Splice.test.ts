import { createHash } from "node:crypto"
import { connect, createServer, type Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { splice, start } from "../../src/proxy/Splice.ts"

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

const mib = 1024 * 1024
const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex")
/** Other bytes for each seed, none of which stands where another one's does. */
const bytesOf = (seed: number, size: number) => {
  const bytes = Buffer.allocUnsafe(size + 4)
  for (let at = 0; at < size; at += 4) bytes.writeUInt32LE((Math.imul(at + seed * 7919, 2654435761) ^ seed) >>> 0, at)
  return bytes.subarray(0, size)
}

/**
 * All until the end. Each time it has read so many bytes it waits until nothing more can be sent to it: what comes from
 * `source` is held back, or is over.
 */
const received = (socket: Socket, source: Socket, most = Number.POSITIVE_INFINITY) =>
  Effect.callback<Buffer>((resume) => {
    const pieces: Array<Buffer> = []
    let left = 0
    const wait = () => {
      if (!source.isPaused() && !source.readableEnded) return setImmediate(wait)
      left = most
      return socket.resume()
    }
    socket.on("data", (piece: Buffer) => {
      pieces.push(Buffer.from(piece))
      left -= piece.length
      if (left > 0) return
      socket.pause()
      wait()
    })
    socket.pause()
    wait()
    socket.once("end", () => resume(Effect.succeed(Buffer.concat(pieces))))
  }).pipe(Effect.timeout("30 seconds"))

describe("what passes two joined connections", () => {
  it.live("arrives unchanged, both ways, on several at once, with readers that stop", () =>
    Effect.gen(function* () {
      const checked = yield* Effect.forEach(
        Array.from({ length: 4 }, (_, at) => at),
        Effect.fnUntraced(function* (at) {
          const [client, server] = [yield* pair, yield* pair]
          start(client.near, server.near, () => {})
          const [there, back] = [bytesOf(2 * at, 24 * mib + at), bytesOf(2 * at + 1, 16 * mib + 3 * at)]
          client.peer.end(there)
          server.peer.end(back)
          const got = yield* Effect.all(
            [received(server.peer, client.near, (at + 1) * mib), received(client.peer, server.near, 2 * mib)],
            { concurrency: 2 }
          )
          assert.deepStrictEqual(got.map(sha256), [there, back].map(sha256))
          return at
        }),
        { concurrency: "unbounded" }
      )
      assert.lengthOf(checked, 4)
    }).pipe(Effect.scoped)
  )

  it.live("gives its memory back once it was sent, where nothing else is in the same memory", () =>
    Effect.gen(function* () {
      const [client, server] = [yield* pair, yield* pair]
      const pieces: Array<{ readonly memory: ArrayBufferLike; readonly bytes: number; readonly whole: boolean }> = []
      client.near.on("data", ({ buffer, byteLength }: Buffer) =>
        pieces.push({ memory: buffer, bytes: byteLength, whole: buffer.byteLength === byteLength })
      )
      client.near.pause()
      // As the head of a request is: a part of what was read.
      const head = Buffer.alloc(64 * 1024, 1)
      client.near.unshift(head.subarray(1_024))
      start(client.near, server.near, () => {})
      client.peer.end(bytesOf(1, mib))
      assert.lengthOf(yield* received(server.peer, client.near), 63 * 1024 + mib)
      assert.isAtLeast(pieces.length, 5)
      for (const { bytes, memory, whole } of pieces) {
        const isGone = memory instanceof ArrayBuffer && memory.detached
        assert.strictEqual(isGone, whole && bytes >= 16 * 1024, `a piece of ${bytes} bytes`)
      }
      assert.isTrue(head.every((byte) => byte === 1))
    }).pipe(Effect.scoped)
  )
})
