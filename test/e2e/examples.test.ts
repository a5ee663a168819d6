/** README's examples run as they stand; the one on live systems with the platform's. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { example, run } from "./Platform.ts"

describe("the example on imagined processes", () => {
  it.live("holds a server while it is used, and stops it after its idle time", () =>
    Effect.gen(function* () {
      const { output, ended } = yield* run(example("embed-orchestrator.ts"))
      assert.strictEqual(yield* ended, 0)
      const told = output.join("")
      assert.match(told, /^running 1 connection$/m)
      assert.match(told, /^idle until 1970-01-01T01:05:00.061Z$/m)
      assert.match(told, /^0 servers, 1 stopped$/m)
    }).pipe(Effect.scoped)
  )
})

describe("the example on fakes", () => {
  it.live("goes through a project's life in no time", () =>
    Effect.gen(function* () {
      const { output, ended } = yield* run(example("embed.ts"))
      assert.strictEqual(yield* ended, 0)
      const told = output.join("")
      assert.match(told, /created [a-z0-9-]+: active/)
      assert.match(told, /archived: 1/)
      assert.match(told, /woken cold: active, generation 3/)
    }).pipe(Effect.scoped)
  )
})
