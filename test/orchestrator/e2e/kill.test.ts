/** The orchestrator itself is killed: nothing that was acknowledged is lost, and no database ever has two servers. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Documents from "../../../src/client/Documents.ts"
import { isAlive, markOf } from "../../../src/process/ProcessMark.ts"
import { eventually } from "../../support/eventually.ts"
import { orchestrator, temporaryFolder } from "./Running.ts"

const ids = Array.from({ length: 10 }, (_, index) => `p${index}`)

describe("kill -9 of the orchestrator with ten servers under load", () => {
  it.live(
    "the next one ends what is left before it serves; every acknowledged write is there, every database whole",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* temporaryFolder
        const acknowledged = new Map<string, number>()
        const first = yield* orchestrator(dataDir, [])
        const socket = (url: string, id: string) => Documents.connect(`${url.replace("http", "ws")}/projects/${id}/ws`)
        const writers = yield* Effect.forEach(ids, (id) =>
          Effect.gen(function* () {
            const documents = yield* socket(first.url, id)
            for (let n = 0; ; n += 1) {
              yield* documents.put(`k${n}`, n)
              acknowledged.set(id, n + 1)
            }
          }).pipe(Effect.scoped, Effect.ignore, Effect.forkScoped)
        )
        yield* eventually(Effect.sync(() => ids.every((id) => (acknowledged.get(id) ?? 0) > 50)))
        const before = yield* first.status
        const marks = yield* Effect.forEach(before.servers, ({ pid }) =>
          Effect.flatMap(markOf(pid ?? 0), Effect.fromNullishOr)
        )
        assert.strictEqual(marks.length, 10)
        first.child.kill("SIGKILL")
        assert.strictEqual(yield* first.ended, "SIGKILL")
        yield* Effect.forEach(writers, Fiber.join, { concurrency: "unbounded" })
        assert.deepStrictEqual(
          yield* Effect.forEach(marks, isAlive),
          Array.from({ length: 10 }, () => true)
        )

        const second = yield* orchestrator(dataDir, [])
        assert.deepStrictEqual(
          yield* Effect.forEach(marks, isAlive),
          Array.from({ length: 10 }, () => false)
        )
        for (const id of ids) {
          const documents = yield* socket(second.url, id)
          for (let n = 0; n < (acknowledged.get(id) ?? 0); n += 1) {
            assert.strictEqual((yield* documents.get(`k${n}`)).value, n, `${id} k${n}`)
          }
        }
        second.child.kill("SIGTERM")
        assert.strictEqual(yield* second.ended, 0)
        for (const id of ids) {
          const database = new DatabaseSync(`${dataDir}/${id}/project.db`)
          assert.deepEqual(database.prepare("PRAGMA integrity_check").all(), [{ integrity_check: "ok" }])
          database.close()
        }
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
