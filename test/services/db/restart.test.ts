/** The database goes away and comes back: the pool, the listener and the locks of a running instance find it again. */
import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SecureRandom from "effect/crypto/SecureRandom"
import { startPostgres } from "../../../src/local/postgres/EmbeddedPostgres.ts"
import { ChangeFeed } from "../../../src/services/db/ChangeFeed.ts"
import { Migrations } from "../../../src/services/db/Migrations.ts"
import { layerPostgres } from "../../../src/services/db/Postgres.ts"
import { type Change, Projects } from "../../../src/services/db/Projects.ts"
import { Locks, taskLocks } from "../../../src/services/locks/Locks.ts"
import * as given from "../../contract/stores/Given.ts"
import { eventually } from "../../support/eventually.ts"

/** A server in a folder of the test, which it starts and stops. */
const server = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "valet-restart-" })
  const start = (port: number) =>
    Effect.gen(function* () {
      const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
      const { port: listening, url } = yield* Scope.provide(startPostgres({ folder, port, durable: false }), scope)
      return { port: listening, url, stop: Scope.close(scope, Exit.void) }
    })
  return { start }
})

describe("a restart of the database", () => {
  it.live("is survived by pool, listener and locks", () =>
    Effect.gen(function* () {
      const { start } = yield* server
      const first = yield* start(0)
      const stores = layerPostgres({ url: first.url, directUrl: first.url })
      yield* Effect.gen(function* () {
        yield* Effect.flatMap(Migrations, ({ migrate }) => migrate)
        const projects = yield* Projects
        const locks = yield* Locks
        const { listening } = yield* ChangeFeed
        const hints = yield* Queue.unbounded<Change>()
        yield* projects.changes.pipe(
          Stream.runForEach((change) => Queue.offer(hints, change)),
          Effect.forkScoped
        )
        assert.deepStrictEqual(yield* Queue.take(hints), { _tag: "Resync" })
        assert.isTrue(listening())
        yield* given.creating("red")
        assert.deepStrictEqual(yield* locks.withTaskLock(taskLocks.pool)(Effect.succeed(1)), Option.some(1))
        const red = { _tag: "Changed", projectId: given.projectId("red") } as const
        assert.deepStrictEqual(yield* Queue.take(hints), red)

        yield* first.stop
        yield* eventually(Effect.sync(() => !listening()))
        const down = yield* Effect.flip(projects.find(given.projectId("red")))
        assert.strictEqual(down.reason, "Unavailable")
        const lost = yield* Effect.flip(locks.withTaskLock(taskLocks.pool)(Effect.succeed(1)))
        assert.strictEqual(lost._tag, "LockLost")

        yield* start(first.port)
        assert.isTrue(Option.isSome(yield* projects.find(given.projectId("red"))))
        assert.deepStrictEqual(yield* Queue.take(hints), { _tag: "Resync" })
        assert.isTrue(listening())
        yield* projects.expireWake(given.projectId("unknown"))
        yield* given.creating("blue")
        const blue = { _tag: "Changed", projectId: given.projectId("blue") } as const
        assert.deepStrictEqual(yield* Queue.take(hints), blue)
        assert.deepStrictEqual(yield* locks.withTaskLock(taskLocks.pool)(Effect.succeed(2)), Option.some(2))
      }).pipe(Effect.scoped, Effect.provide(stores))
    }).pipe(Effect.provide(Layer.merge(NodeServices.layer, SecureRandom.layerWebCrypto)))
  )
})
