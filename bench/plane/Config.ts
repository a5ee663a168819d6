/** The documents' defaults, with what a bench must be free of: create limits, and other ports than free ones. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PlaneConfig, type PlaneConfigValue } from "../../src/config/PlaneConfig.ts"
import { testConfig } from "../../src/testing/TestPlane.ts"

export const routerDomain = "fly.valet.host"

export const benchConfig = (url: PlaneConfigValue["database"]["url"]): PlaneConfigValue => ({
  ...testConfig,
  port: 0,
  database: { url, directUrl: url },
  fly: { ...testConfig.fly, maxMachines: 10_000_000 },
  router: { ...testConfig.router, domain: routerDomain },
  create: { windows: "off", public: true }
})

/** With the database of DATABASE_URL. */
export const layerBenchConfig = Layer.effect(PlaneConfig, Effect.map(Config.Redacted("DATABASE_URL"), benchConfig))
