/** Many at once: on one cold project, and on more projects than may run. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Documents from "../../../src/client/Documents.ts"
import { ask, processesNaming } from "../../e2e/Platform.ts"
import { amount } from "../../support/amount.ts"
import { orchestrator, temporaryFolder } from "./Running.ts"

const child = new URL("children/stream.mjs", import.meta.url).pathname
const projects = amount(60, 200)
const places = amount(10, 20)

describe("a crowd", () => {
  it.live("of 100 on one cold project causes one spawn, and all are served", () =>
    Effect.gen(function* () {
      const running = yield* orchestrator(yield* temporaryFolder, [])
      const url = `${running.url.replace("http", "ws")}/projects/alpha/ws`
      const versions = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, i) => i),
        (i) => Effect.scoped(Effect.flatMap(Documents.connect(url), (documents) => documents.put(`k${i}`, i))),
        { concurrency: "unbounded" }
      )
      // One database counted them all.
      const counted = versions.toSorted((a, b) => a - b)
      assert.deepStrictEqual(
        counted,
        Array.from({ length: 100 }, (_, i) => i + 1)
      )
      const { totals } = yield* running.status
      assert.strictEqual(totals.spawns, 1)
      const keys = yield* ask(running.url, { path: "/projects/alpha/documents?limit=1000" })
      assert.strictEqual(keys.body.match(/"k\d+"/g)?.length, 100)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live(
    `over ${projects} projects of which ${places} may run: every request is served, and never more than ${places} servers run`,
    () =>
      Effect.gen(function* () {
        const running = yield* orchestrator(yield* temporaryFolder, ["--max-servers", `${places}`, "--", "node", child])
        let most = 0
        const ids = [
          ...Array.from({ length: projects }, (_, i) => `p${i}`),
          ...Array.from({ length: places }, (_, i) => `p${i}`)
        ]
        const answers = yield* Effect.forEach(
          ids,
          (id, i) =>
            Effect.gen(function* () {
              if (i % places === 0) most = Math.max(most, (yield* processesNaming(running.data_dir)).length)
              return yield* ask(running.url, { path: `/projects/${id}/` })
            }),
          { concurrency: 8 }
        )
        assert.deepStrictEqual(
          answers.filter(({ status, body }) => status !== 200 || !/^\d+$/.test(body)),
          []
        )
        // And the orchestrator itself.
        assert.isAtMost(most, places + 1)
        const { totals } = yield* running.status
        assert.isAtLeast(totals.evictions, projects)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    180_000
  )
})
