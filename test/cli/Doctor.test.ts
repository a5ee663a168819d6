import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { DevRecordJson } from "../../src/local/dev/DevRecord.ts"
import { start, valet } from "./support.ts"

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

  it.live("finds a whole local plane in order", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "valet-doctor-" })
      const dev = yield* start(["dev", "--json", "--port", "0", "--pool-size", "1", "--data-dir", `${folder}/data`])
      const printed = Effect.suspend(() => Schema.decodeEffect(DevRecordJson)(dev.output().stdout))
      const within = Schedule.spaced("100 millis").pipe(Schedule.upTo({ duration: "40 seconds" }))
      const record = yield* Effect.retry(printed, within)
      const { code, stdout, stderr } = yield* valet(["doctor", "--json"], {
        DATABASE_URL: record.database_url,
        CONTROL_PLANE_SECRET: record.control_plane_secret,
        VALET_FLY_API_URL: record.fly_api,
        VALET_FLY_TOKEN: record.fly_token,
        VALET_FLY_APP: record.fly_app,
        VALET_FLY_IMAGE: "image",
        R2_ENDPOINT: record.s3.endpoint,
        R2_ACCESS_KEY_ID: record.s3.access_key_id,
        R2_SECRET_ACCESS_KEY: record.s3.secret_access_key,
        R2_BUCKET: record.s3.bucket
      })
      assert.strictEqual(code, 0, stdout + stderr)
      const { findings }: { findings: ReadonlyArray<{ check: string; outcome: string }> } = JSON.parse(stdout)
      for (const check of ["database", "database (direct)", "migrations", "Fly", "clock", "R2"]) {
        assert.strictEqual(findings.find((finding) => finding.check === check)?.outcome, "ok", check)
      }
      dev.process.kill("SIGTERM")
      assert.strictEqual((yield* dev.ended).code, 0)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
