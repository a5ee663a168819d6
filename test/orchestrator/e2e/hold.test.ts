/** What idle connections leave behind; `hold-connections.ts` is the same at full size. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { hold } from "./Hold.ts"
import { temporaryFolder } from "./Running.ts"

describe("300 idle connections over three projects", () => {
  it.live("are all held, and leave neither memory nor descriptors when they close", () =>
    Effect.gen(function* () {
      const dataDir = yield* temporaryFolder
      const held = yield* hold({ dataDir, connections: 300, projects: 3, seconds: 1, progress: () => Effect.void })
      assert.strictEqual(held.alive, 300)
      assert.isAtLeast(held.during.descriptors - held.before.descriptors, 600)
      assert.isFalse(held.leaked, JSON.stringify(held))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
