import { createServer } from "node:http"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { launch, makeStore, programs } from "../../bench/archive/Candidates.ts"
import { memoryFigures } from "../../bench/archive/Memory.ts"
import { move, type Stored } from "../../bench/archive/Move.ts"

const stored: Stored = { size: 4_096, sha256: "ab".repeat(32), crc32: 7 }

interface Answers {
  readonly received: { readonly size: number; readonly crc32: number }
  readonly r2_checksum: string
}

/** Server and store in one: the restore is done when it is asked for the third time. */
const pretender = (answers: Answers) =>
  Effect.gen(function* () {
    let asked = 0
    const answer = (path: string | undefined): readonly [number, object] => {
      switch (path) {
        case "/status":
          return [200, { received: answers.received, cpuMs: 1 }]
        case "/internal/configure":
          return ++asked < 3 ? [202, {}] : [200, { ready: true, restored_bytes: stored.size }]
        default:
          return [200, { r2_key: "key", r2_checksum: answers.r2_checksum, size: stored.size }]
      }
    }
    const server = createServer((request, response) => {
      const [status, body] = answer(request.url)
      response.writeHead(status).end(JSON.stringify(body))
    })
    const port = yield* Effect.acquireRelease(
      Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return { port, pid: process.pid, asked: () => asked }
  })

describe("archive", () => {
  it.live(
    "the bare script and the project server restore and archive the same database",
    () =>
      Effect.gen(function* () {
        const { bare, valet } = yield* programs
        const store = yield* makeStore
        const database = yield* store.fill("small", 512 * 1024)
        assert.isAtLeast(database.size, 512 * 1024)
        for (const program of [bare, valet]) {
          const moved = yield* move(yield* launch("a server", program), store.port, "small", database)
          assert.isAbove(moved.restoreMs, 0)
          assert.isAbove(moved.archiveMs, 0)
          assert.isAbove(moved.peakBytes, database.size)
          const another = { ...database, sha256: "ab".repeat(32) }
          const error = yield* Effect.flip(move(yield* launch("a server", program), store.port, "small", another))
          assert.match(error.message, /^configure: /)
        }
      }).pipe(Effect.provide(NodeServices.layer)),
    120_000
  )

  it.live("a move that is still under way is asked for until it is done", () =>
    Effect.gen(function* () {
      const server = yield* pretender({ received: stored, r2_checksum: stored.sha256 })
      yield* move(server, server.port, "key", stored)
      assert.strictEqual(server.asked(), 3)
    })
  )

  const { crc32, sha256: r2_checksum, size } = stored
  it.live.each([
    ["with other bytes", { received: { size, crc32: 8 }, r2_checksum }],
    ["shortened", { received: { size: 1, crc32 }, r2_checksum }],
    ["with another checksum", { received: stored, r2_checksum: "cd".repeat(32) }]
  ] as const)("a database that comes back %s is no result", ([, answers]) =>
    Effect.gen(function* () {
      const server = yield* pretender(answers)
      const error = yield* Effect.flip(move(server, server.port, "key", stored))
      assert.match(error.message, /^another database came back/)
    })
  )
})

describe("memory of archive", () => {
  const peaks = (size: string, mb: number) => ({ size, valet: [mb, mb], bare: [100, 100] })
  const flatness = (...mb: readonly [number, number]) =>
    memoryFigures([peaks("100 MiB", mb[0]), peaks("1 GiB", mb[1])]).at(-1)

  it("is flat where 1 GiB takes no more than a quarter more than 100 MiB", () => {
    assert.deepInclude(flatness(160, 168), { base: "at 100 MiB", ratio: 1.05, met: true })
    // A twentieth of each database, on top of 150 MB.
    assert.isFalse(flatness(155, 204)?.met)
  })

  it("says nothing of flatness without 1 GiB, and holds each size to 200 MB", () => {
    const found = memoryFigures([peaks("1 MiB", 80), peaks("100 MiB", 201)])
    assert.deepStrictEqual(
      found.map(({ met, name }) => [name, met]),
      [
        ["peak memory, 1 MiB", true],
        ["peak memory, 100 MiB", false]
      ]
    )
  })
})
