import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { valet } from "./support.ts"

const unwell = {
  DATABASE_URL: "postgres://nobody:nothing@127.0.0.1:1/none",
  CONTROL_PLANE_SECRET: "0123456789abcdef0123456789abcdef",
  VALET_FLY_API_URL: "http://127.0.0.1:1",
  VALET_FLY_TOKEN: "token",
  VALET_FLY_APP: "projects",
  VALET_FLY_IMAGE: "image"
}

describe("valet doctor", () => {
  it.live("finds what is not in order, and says what to do", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* valet(["doctor"], unwell)
      assert.strictEqual(code, 1, stderr)
      assert.match(stdout, /^FAILED +database: .*\n +is DATABASE_URL right/m)
      assert.match(stdout, /^FAILED +migrations: /m)
      assert.match(stdout, /^FAILED +Fly: nothing answers at .*\n +make a deploy token/m)
      assert.match(stdout, /^warning +R2: not configured/m)
      assert.match(stderr, /not in order: database/)
      assert.notMatch(stdout + stderr, /nothing@|0123456789abcdef/)
    })
  )
})
