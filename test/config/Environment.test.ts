import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { type ConfigProblems, fromEnvironment } from "../../src/config/Environment.ts"
import { groups } from "../../src/config/Variables.ts"
import { renderVariableTable } from "../../src/config/VariableTable.ts"

const secret = "0123456789abcdef0123456789abcdef"
const minimal = {
  DATABASE_URL: "postgres://valet:pw@db:5432/valet",
  CONTROL_PLANE_SECRET: secret,
  VALET_FLY_TOKEN: "FlyV1 fm2_x",
  VALET_FLY_APP: "projects",
  VALET_FLY_IMAGE: "registry.fly.io/projects@sha256:0"
}

const read = (environment: Record<string, string>) =>
  fromEnvironment.pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(environment))))

const problems = (environment: Record<string, string>) =>
  Effect.map(Effect.flip(read(environment)), (error: ConfigProblems) =>
    error.problems.map(({ variable, problem }) => `${variable} ${problem}`)
  )

const warningsOf = (environment: Record<string, string>) => {
  const lines: Array<string> = []
  const capture = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
  return read(environment).pipe(
    Effect.provide(capture),
    Effect.map(() => lines)
  )
}

describe("configuration from the environment", () => {
  it.effect("has the documented defaults", () =>
    Effect.gen(function* () {
      const config = yield* read(minimal)
      assert.strictEqual(config.port, 7000)
      assert.strictEqual(config.host, "0.0.0.0")
      assert.deepStrictEqual(
        { ...config.fly, token: null },
        {
          apiUrl: "https://api.machines.dev",
          token: null,
          app: "projects",
          region: "sjc",
          regions: ["sjc"],
          vmSize: "shared-cpu-1x",
          vmMemoryMb: 256,
          image: minimal.VALET_FLY_IMAGE,
          volumeGb: 1,
          maxMachines: 1000,
          machineUrl: "http://{machine_id}.vm.{app}.internal:3000",
          idleSuspend: "self"
        }
      )
      assert.deepStrictEqual(config.pool, { size: 2, intervalMs: 30_000 })
      assert.deepStrictEqual(config.dormancy, { thresholdMs: 7 * 86_400_000, sweepIntervalMs: 3_600_000 })
      assert.strictEqual(config.r2, null)
      assert.strictEqual(config.router.domain, null)
      assert.strictEqual(config.router.wakeTimeoutMs, 25_000)
      assert.strictEqual(config.router.replayTimeoutMs, 10_000)
      assert.strictEqual(config.router.replayFallback, "prefer_self")
      assert.isTrue(config.router.noWake?.test("Mozilla/5.0 (compatible; Googlebot/2.1)"))
      assert.isTrue(config.router.noWake?.test("UptimeRobot/2.0"))
      assert.isFalse(config.router.noWake?.test("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"))
      assert.deepStrictEqual(config.create, {
        public: true,
        windows: [
          { limit: 3, windowMs: 60_000 },
          { limit: 6, windowMs: 900_000 },
          { limit: 15, windowMs: 3_600_000 }
        ]
      })
      assert.strictEqual(Redacted.value(config.database.directUrl), minimal.DATABASE_URL)
      assert.isFalse(config.onFly)
    })
  )

  it.effect("a unit in the variable's name rules bare numbers, a suffix always works", () =>
    Effect.gen(function* () {
      const bare = yield* read({ ...minimal, DORMANCY_THRESHOLD_DAYS: "2", WARM_POOL_REPLENISH_INTERVAL_SECS: "90" })
      assert.strictEqual(bare.dormancy.thresholdMs, 2 * 86_400_000)
      assert.strictEqual(bare.pool.intervalMs, 90_000)
      const suffixed = yield* read({
        ...minimal,
        DORMANCY_THRESHOLD_DAYS: "90s",
        WARM_POOL_REPLENISH_INTERVAL_SECS: "5m",
        ROUTER_WAKE_TIMEOUT_SECS: "1500ms",
        DORMANCY_SWEEP_INTERVAL_SECS: "1h"
      })
      assert.strictEqual(suffixed.dormancy.thresholdMs, 90_000)
      assert.strictEqual(suffixed.pool.intervalMs, 300_000)
      assert.strictEqual(suffixed.router.wakeTimeoutMs, 1500)
      assert.strictEqual(suffixed.dormancy.sweepIntervalMs, 3_600_000)
    })
  )

  it.effect("reports every problem at once, by name and without values", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        read({
          DATABASE_URL: "mysql://root:hunter2@db/x",
          CONTROL_PLANE_SECRET: "hunter2",
          CONTROL_PLANE_PORT: "hunter2",
          VALET_FLY_REGION: "hunter2",
          VALET_MACHINE_URL: "http://hunter2:3000",
          DORMANCY_THRESHOLD_DAYS: "hunter2",
          ROUTER_NO_WAKE: "(hunter2",
          CREATE_RATE_LIMIT: "hunter2/1m",
          CREATE_PUBLIC: "hunter2",
          R2_ENDPOINT: "hunter2"
        })
      )
      assert.notInclude(error.message, "hunter2")
      assert.strictEqual(error["~effect/Runtime/errorExitCode"], 2)
      assert.deepStrictEqual(
        error.problems.map(({ variable }) => variable),
        [
          "CONTROL_PLANE_PORT",
          "DATABASE_URL",
          "CONTROL_PLANE_SECRET",
          "CREATE_RATE_LIMIT",
          "CREATE_PUBLIC",
          "VALET_FLY_TOKEN",
          "VALET_FLY_APP",
          "VALET_FLY_REGION",
          "VALET_FLY_IMAGE",
          "VALET_MACHINE_URL",
          "DORMANCY_THRESHOLD_DAYS",
          "R2_ENDPOINT",
          "ROUTER_NO_WAKE"
        ]
      )
    })
  )

  it.effect("an empty variable counts as unset", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* problems({ ...minimal, VALET_FLY_APP: " " }), ["VALET_FLY_APP is not set"])
      assert.strictEqual((yield* read({ ...minimal, CONTROL_PLANE_PORT: "" })).port, 7000)
    })
  )

  it.effect("half of R2 is a problem, all of it is a bucket", () =>
    Effect.gen(function* () {
      const endpoint = "https://acct.r2.cloudflarestorage.com/"
      assert.deepStrictEqual(yield* problems({ ...minimal, R2_ENDPOINT: endpoint }), [
        "R2_ACCESS_KEY_ID is not set, but other R2 variables are",
        "R2_SECRET_ACCESS_KEY is not set, but other R2 variables are"
      ])
      const all = { ...minimal, R2_ENDPOINT: endpoint, R2_ACCESS_KEY_ID: "id", R2_SECRET_ACCESS_KEY: "key" }
      const { r2 } = yield* read(all)
      assert.strictEqual(r2?.bucket, "valet-dormant")
      assert.strictEqual(r2?.endpoint, "https://acct.r2.cloudflarestorage.com")
    })
  )

  it.effect("secrets have 32 characters and never show", () =>
    Effect.gen(function* () {
      const short = yield* problems({ ...minimal, CONTROL_PLANE_SECRET_PREVIOUS: secret.slice(1) })
      assert.match(String(short), /^CONTROL_PLANE_SECRET_PREVIOUS must be at least 32 characters/)
      const config = yield* read({
        ...minimal,
        R2_ENDPOINT: "https://r",
        R2_ACCESS_KEY_ID: "i",
        R2_SECRET_ACCESS_KEY: "kkk"
      })
      const shown = JSON.stringify(config)
      for (const value of [secret, minimal.VALET_FLY_TOKEN, "kkk", minimal.DATABASE_URL])
        assert.notInclude(shown, value)
    })
  )

  it.effect("the internal secret falls back to the control plane's, and so does its predecessor", () =>
    Effect.gen(function* () {
      const [previous, internal, internalPrevious] = ["p", "i", "j"].map((letter) => letter.repeat(32))
      const values = (environment: Record<string, string | undefined>) =>
        Effect.map(
          read(Object.fromEntries(Object.entries({ ...minimal, ...environment }).map(([k, v]) => [k, v ?? ""]))),
          ({ internalSecret, internalSecretsPrevious }) =>
            [internalSecret, ...internalSecretsPrevious].map(Redacted.value)
        )
      assert.deepStrictEqual(yield* values({}), [secret])
      assert.deepStrictEqual(yield* values({ CONTROL_PLANE_SECRET_PREVIOUS: previous }), [secret, previous])
      assert.deepStrictEqual(
        yield* values({ CONTROL_PLANE_SECRET_PREVIOUS: previous, CONTROL_PLANE_INTERNAL_SECRET: internal }),
        [internal]
      )
      assert.deepStrictEqual(
        yield* values({
          CONTROL_PLANE_INTERNAL_SECRET: internal,
          CONTROL_PLANE_INTERNAL_SECRET_PREVIOUS: internalPrevious
        }),
        [internal, internalPrevious]
      )
      assert.deepStrictEqual(
        yield* values({
          CONTROL_PLANE_INTERNAL_SECRET: internal,
          CONTROL_PLANE_INTERNAL_SECRET_PREVIOUS: `${internalPrevious}, ${previous}`
        }),
        [internal, internalPrevious, previous]
      )
    })
  )

  it.effect("the default region is the first allowed one", () =>
    Effect.gen(function* () {
      const listed = yield* read({ ...minimal, VALET_FLY_REGIONS: "ams, fra" })
      assert.deepStrictEqual([listed.fly.region, listed.fly.regions], ["ams", ["ams", "fra"]])
      const both = yield* read({ ...minimal, VALET_FLY_REGIONS: "ams,fra", VALET_FLY_REGION: "fra" })
      assert.deepStrictEqual([both.fly.region, both.fly.regions], ["fra", ["fra", "ams"]])
      assert.deepStrictEqual(yield* problems({ ...minimal, VALET_FLY_REGIONS: "ams", VALET_FLY_REGION: "fra" }), [
        "VALET_FLY_REGION must be one of VALET_FLY_REGIONS"
      ])
    })
  )

  it.effect("memory must be what Fly has for the size", () =>
    Effect.gen(function* () {
      assert.match(String(yield* problems({ ...minimal, VALET_FLY_VM_MEMORY_MB: "300" })), /multiple of 256/)
      assert.match(String(yield* problems({ ...minimal, VALET_FLY_VM_SIZE: "performance-1x" })), /from 2048 to 8192/)
      const large = yield* read({ ...minimal, VALET_FLY_VM_SIZE: "performance-2x", VALET_FLY_VM_MEMORY_MB: "4096" })
      assert.strictEqual(large.fly.vmMemoryMb, 4096)
    })
  )

  it.effect("off switches the rate limit and the user-agent filter off", () =>
    Effect.gen(function* () {
      const config = yield* read({ ...minimal, CREATE_RATE_LIMIT: "off", ROUTER_NO_WAKE: "off", CREATE_PUBLIC: "no" })
      assert.strictEqual(config.create.windows, "off")
      assert.isFalse(config.create.public)
      assert.isNull(config.router.noWake)
    })
  )

  it.effect("knows its own app on Fly", () =>
    Effect.gen(function* () {
      const config = yield* read({ ...minimal, FLY_APP_NAME: "plane" })
      assert.deepStrictEqual([config.onFly, config.router.app], [true, "plane"])
    })
  )

  it.effect("warns of names that look like ours, with the nearest known one", () =>
    Effect.gen(function* () {
      const lines = yield* warningsOf({ ...minimal, VALET_FLY_REGON: "ams", R2_BUKET: "hunter2" })
      assert.deepStrictEqual(lines, [
        "VALET_FLY_REGON is not a variable of Valet; did you mean VALET_FLY_REGION?",
        "R2_BUKET is not a variable of Valet; did you mean R2_BUCKET?"
      ])
    })
  )

  it.effect("a name of any length is compared at once", () =>
    Effect.gen(function* () {
      const name = `VALET_FLY_REGON${"X".repeat(1_000_000)}`
      const [line] = yield* warningsOf({ ...minimal, [name]: "ams" })
      assert.match(line ?? "", /; did you mean [A-Z0-9_]+\?$/)
    })
  )

  it.effect("a source that fails is a problem of each variable, not a crash", () =>
    Effect.gen(function* () {
      const broken = ConfigProvider.make(() => Effect.fail(new ConfigProvider.SourceError({ message: "disk" })))
      const error = yield* Effect.flip(
        fromEnvironment.pipe(Effect.provideService(ConfigProvider.ConfigProvider, broken))
      )
      assert.isAbove(error.problems.length, 20)
    })
  )
})

describe("the table of variables", () => {
  it("has each name once, with a meaning", () => {
    const rows = groups.flatMap(({ variables }) => variables)
    assert.strictEqual(new Set(rows.map(({ name }) => name)).size, rows.length)
    for (const { meaning } of rows) assert.match(meaning, /\S.*\.$/)
  })

  it("has every variable that the sources name", () => {
    const folder = join(import.meta.dirname, "../../src")
    const sources = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"))
    const name = /\b(?:VALET|ROUTER|R2|WARM_POOL|DORMANCY|CREATE|CONTROL_PLANE)_[A-Z0-9]+(?:_[A-Z0-9]+)*\b/g
    const known = new Set(groups.flatMap(({ variables }) => variables.map((variable) => variable.name)))
    const named = sources.flatMap((source) =>
      [...readFileSync(join(folder, source), "utf8").matchAll(name)].map(([variable]) => ({ source, variable }))
    )
    assert.isAbove(named.length, 100)
    assert.deepStrictEqual(
      named.filter(({ variable }) => !known.has(variable)),
      []
    )
  })

  it("renders Markdown with a row for each variable", () => {
    const table = renderVariableTable()
    assert.include(table, "| `CONTROL_PLANE_PORT` | `7000` | Port of the API and router. |")
    assert.include(table, "| `DATABASE_URL` | required |")
    assert.include(table, "| `DATABASE_DIRECT_URL` | DATABASE_URL |")
    for (const line of table.split("\n").filter((line) => line.startsWith("| `"))) {
      assert.strictEqual(line.replaceAll("\\|", "").split("|").length, 5, line)
    }
  })
})
