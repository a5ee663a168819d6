import { createServer } from "node:net"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as PortPool from "../../../src/orchestrator/process/PortPool.ts"

/** Each with the same dice: without care they would get the same port. */
const take = (pool: PortPool.PortPool) => Random.withSeed(pool.take, "one")

it.live("nobody gets a port that another has; what was given back is given out again", () =>
  Effect.gen(function* () {
    const pool = yield* PortPool.make
    const first = yield* Effect.scoped(
      Effect.gen(function* () {
        const ports = yield* Effect.all(
          Array.from({ length: 20 }, () => take(pool)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(ports).size, 20)
        return ports[0]
      })
    )
    assert.strictEqual(yield* Effect.scoped(take(pool)), first)
  }).pipe(Effect.provide(NodeServices.layer))
)

it.live("a port that somebody listens on is not given out", () =>
  Effect.gen(function* () {
    const pool = yield* PortPool.make
    const port = yield* Effect.scoped(take(pool))
    const server = createServer()
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(port, "127.0.0.1", () => resume(Effect.void))
      }),
      () => Effect.sync(() => server.close())
    )
    const other = yield* take(pool)
    assert.isNumber(other)
    assert.notStrictEqual(other, port)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
