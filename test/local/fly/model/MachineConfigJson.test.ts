import { assert, describe, it } from "@effect/vitest"
import {
  durationMs,
  goDuration,
  readBack,
  type ModelConfig
} from "../../../../src/local/fly/model/MachineConfigJson.ts"
import * as Machines from "../../../../src/local/fly/model/Machines.ts"
import { app, makeWorld, image, create } from "./World.ts"

describe("configuration", () => {
  it.each([
    ["15s", 15_000, "15s"],
    ["60s", 60_000, "1m0s"],
    ["1h", 3_600_000, "1h0m0s"],
    ["500ms", 500, "500ms"],
    ["1m30s", 90_000, "1m30s"],
    [15_000_000_000, 15_000, "15s"]
  ] as const)("duration %s", (written, ms, printed) => {
    assert.strictEqual(durationMs(written), ms)
    assert.strictEqual(goDuration(ms), printed)
  })

  it("is filled in, keeps what it does not know, and reads autostop back as Fly does", () => {
    const world = makeWorld()
    const unknown = { statics: [{ guest_path: "/a", url_prefix: "/" }] }
    const services = [{ autostop: "off" }, { autostop: "stop" }, { autostop: "suspend" }] as const
    const { config } = create(world, {
      services,
      stop_config: { timeout: "60s" },
      ...unknown
    })
    assert.deepStrictEqual(config.restart, { policy: "on-failure", max_retries: 10 })
    assert.deepStrictEqual(config.guest, { cpu_kind: "shared", cpus: 1, memory_mb: 256 })
    assert.deepStrictEqual(config.stop_config, { timeout: "1m0s" })
    assert.deepStrictEqual(readBack(config)["statics"], unknown.statics)
    assert.deepStrictEqual(readBack(config)["services"], [
      { autostop: false, autostart: false },
      { autostop: true, autostart: false },
      { autostop: "suspend", autostart: false }
    ])
  })

  it.each([
    { guest: { memory_mb: 300 } },
    { guest: { cpus: 2, memory_mb: 256 } },
    { guest: { cpu_kind: "performance", cpus: 1, memory_mb: 1024 } },
    { mounts: [{ volume: "a" }, { volume: "b" }] },
    { stop_config: { timeout: "soon" } }
  ] satisfies ReadonlyArray<Partial<ModelConfig>>)("is refused: %j", (config: Partial<ModelConfig>) => {
    assert.strictEqual(makeWorld().refused(Machines.createMachine(app, { config: { image, ...config } })).status, 400)
  })
})
