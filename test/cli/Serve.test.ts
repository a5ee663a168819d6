/** The control plane as a process on a real database, its Fly out of reach. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import { freePort } from "../../src/process/Ports.ts"
import { TestDatabase } from "../support/TestDatabase.ts"
import { type Environment, start, valet } from "./support.ts"

const secret = "0123456789abcdef0123456789abcdef"

const environment = Effect.gen(function* () {
  const database = yield* TestDatabase
  const port = yield* freePort
  return {
    DATABASE_URL: Redacted.value(database.url),
    CONTROL_PLANE_SECRET: secret,
    CONTROL_PLANE_HOST: "127.0.0.1",
    CONTROL_PLANE_PORT: String(port),
    VALET_URL: `http://127.0.0.1:${port}`,
    VALET_FLY_API_URL: "http://127.0.0.1:1",
    VALET_FLY_TOKEN: "token",
    VALET_FLY_APP: "projects",
    VALET_FLY_IMAGE: "image",
    WARM_POOL_SIZE: "0",
    ROUTER_WAKE_TIMEOUT_SECS: "1"
  } satisfies Environment
})

const serving = (environment: Environment & { readonly VALET_URL: string }, args: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const server = yield* start(["serve", ...args], environment)
    const ready = HttpClient.get(`${environment.VALET_URL}/health/ready`).pipe(
      Effect.filterOrFail(
        ({ status }) => status === 200,
        ({ status }) => status
      ),
      Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: "30 seconds" })))
    )
    yield* Effect.raceFirst(
      ready,
      Effect.flatMap(server.ended, ({ stderr }) => Effect.die(new Error(stderr)))
    )
    return server
  }).pipe(Effect.provide(FetchHttpClient.layer))

describe("valet serve", () => {
  it.live("drains and ends with 0, also where the signal comes twice; its logs are JSON on stderr", () =>
    Effect.gen(function* () {
      const server = yield* serving(yield* environment)
      server.process.kill("SIGTERM")
      server.process.kill("SIGTERM")
      const { code, stdout, stderr } = yield* server.ended
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(stdout, "")
      const lines: ReadonlyArray<{ message?: unknown; level?: unknown }> = stderr
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
      assert.isTrue(lines.some(({ message }) => JSON.stringify(message).includes("listening")))
      assert.notInclude(stderr, secret)
      assert.deepStrictEqual(
        lines.filter(({ level }) => level === "ERROR"),
        []
      )
    }).pipe(Effect.provide(TestDatabase.layer))
  )

  it.live("refuses a database that is not migrated, and says what to do; migrate does it, once", () =>
    Effect.gen(function* () {
      const variables = yield* environment
      const refused = yield* valet(["serve"], variables)
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /run `valet migrate`/)
      const only = { DATABASE_URL: variables.DATABASE_URL }
      const check = yield* valet(["migrate", "--check"], only)
      assert.match(check.stdout, /^pending: 0001_/)
      const first = yield* valet(["migrate"], only)
      assert.match(first.stdout, /^migrated: 0001_/, first.stderr)
      const second = yield* valet(["migrate", "--json"], only)
      assert.deepStrictEqual(JSON.parse(second.stdout), { migrated: [] })
      yield* serving(variables)
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )

  it.live("migrates by itself where it is told to", () =>
    Effect.gen(function* () {
      const server = yield* serving(yield* environment, ["--migrate", "--drain", "1s"])
      server.process.kill("SIGTERM")
      assert.strictEqual((yield* server.ended).code, 0)
    }).pipe(Effect.provide(TestDatabase.layerEmpty))
  )
})

describe("valet projects", () => {
  it.live("creates, shows, lists, tells of, and deletes a project", () =>
    Effect.gen(function* () {
      const variables = yield* environment
      yield* serving(variables)
      const run = (...args: ReadonlyArray<string>) => valet(args, variables)
      const created = yield* run("projects", "create", "--id", "demo", "--idle-timeout", "2m", "--json")
      assert.strictEqual(created.code, 0, created.stderr)
      const project: { project_id: string; state: string; deploy_key: string } = JSON.parse(created.stdout)
      assert.deepInclude(project, { project_id: "demo", state: "dormant" })

      assert.match((yield* run("projects", "show", "demo")).stdout, /^project_id: +demo$/m)
      assert.match((yield* run("projects", "list", "--state", "dormant")).stdout, /^demo +dormant/m)
      assert.match((yield* run("projects", "events", "demo")).stdout, /created/)
      assert.match((yield* run("status")).stdout, /projects: +0 active, 0 suspended, 1 dormant/)
      const pinned = yield* run("projects", "set", "demo", "--pinned", "--dormancy-threshold", "2d", "--json")
      assert.deepInclude(JSON.parse(pinned.stdout), { idle_timeout_seconds: 120, pinned: true })
      const owner = yield* run("projects", "set", "demo", "--no-pinned", "--json", "--token", project.deploy_key)
      assert.deepInclude(JSON.parse(owner.stdout), { pinned: false, dormancy_threshold_seconds: 172_800 })

      const stranger = yield* run("projects", "list", "--token", "nobody")
      assert.strictEqual(stranger.code, 1)
      assert.match(stranger.stderr, /refused the token: set --token or CONTROL_PLANE_SECRET/)
      const taken = yield* run("projects", "create", "--id", "demo")
      assert.match(taken.stderr, /project exists/)

      const unsure = yield* run("projects", "delete", "demo")
      assert.strictEqual(unsure.code, 1)
      assert.match(unsure.stderr, /--yes/)
      const deleted = yield* run("projects", "delete", "demo", "--yes")
      assert.strictEqual(deleted.code, 0, deleted.stderr)
      const gone = yield* run("projects", "show", "demo")
      assert.deepStrictEqual([gone.code, gone.stderr.trim()], [1, "valet: there is no such project"])
    }).pipe(Effect.provide(TestDatabase.layer))
  )
})
