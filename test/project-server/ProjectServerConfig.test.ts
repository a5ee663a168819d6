import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { fromEnvironment } from "../../src/project-server/ProjectServerConfig.ts"

const read = (environment: Record<string, string>) =>
  Effect.provideService(fromEnvironment, ConfigProvider.ConfigProvider, ConfigProvider.fromEnvRecord(environment))

const onFly = { VALET_INTERNAL_SECRET: "s", FLY_APP_NAME: "machines", FLY_MACHINE_ID: "m1" }

describe("the environment", () => {
  it.effect("of a machine at Fly", () =>
    Effect.gen(function* () {
      const config = yield* read({ ...onFly, DATA_DIR: "/data/", PROJECT_ID: "demo", VALET_ROUTER_APP: "router" })
      assert.deepInclude(config, {
        host: "::",
        port: 3000,
        dataDir: "/data",
        stateDir: "/data",
        databasePath: "/data/project.db",
        projectId: null,
        comparesAddress: true,
        routerApp: "router",
        suspend: { api: "/.fly/api", app: "machines", machine: "m1" },
        idleTimeoutSeconds: 300
      })
      assert.isNull((yield* read({ ...onFly, VALET_IDLE_SUSPEND: "fly" })).suspend)
    })
  )

  it.effect("of a server beneath an orchestrator", () =>
    Effect.gen(function* () {
      const config = yield* read({ PROJECT_ID: "demo", PORT: "0", DATA_DIR: "/d", DATABASE_PATH: "/e/f.db" })
      assert.deepInclude(config, {
        host: "127.0.0.1",
        port: 0,
        databasePath: "/e/f.db",
        projectId: "demo",
        internalSecret: null,
        comparesAddress: false,
        suspend: null
      })
      const warm = yield* read({ VALET_INTERNAL_SECRET: "s", DATA_DIR: "/d", VALET_STATE_DIR: "/s/" })
      assert.deepInclude(warm, { dataDir: "/d", stateDir: "/s", databasePath: "/d/project.db", comparesAddress: false })
    })
  )

  it.effect("has all its problems told by name", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        read({
          PORT: "x",
          PROJECT_ID: "No Label",
          VALET_IDLE_SUSPEND: "maybe",
          VALET_ROUTER_APP: "a\r\nb: c"
        })
      )
      assert.deepStrictEqual(
        error.problems.map(({ variable }) => variable),
        ["PORT", "PROJECT_ID", "VALET_ROUTER_APP", "VALET_IDLE_SUSPEND"]
      )
      assert.notInclude(error.message, "No Label")
      const missing = yield* Effect.flip(read({}))
      assert.include(missing.message, "PROJECT_ID")
    })
  )
})
