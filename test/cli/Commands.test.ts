import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { renderVariableTable } from "../../src/config/VariableTable.ts"
import { valet } from "./support.ts"

const { version }: { version: string } = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")
)

describe("the valet command", () => {
  it.live("knows its version and lists its commands", () =>
    Effect.gen(function* () {
      const asked = yield* valet(["--version"])
      assert.deepStrictEqual([asked.code, asked.stdout.trim()], [0, `valet v${version}`])
      const help = yield* valet(["--help"])
      assert.strictEqual(help.code, 0)
      for (const command of ["serve", "dev", "project-server", "projects", "status", "migrate", "doctor"]) {
        assert.match(help.stdout, new RegExp(`^  ${command} `, "m"))
      }
    })
  )

  it.live.each<readonly [ReadonlyArray<string>, RegExp]>([
    [["srve"], /serve/],
    [["projects", "sleep", "demo", "--to", "sleepy"], /dormant/],
    [["projects", "create", "--idle-timeout", "soon"], /90s/],
    [["projects", "show"], /id/i],
    [["dev", "--port", "65536"], /65535/],
    [["dev", "--pool-size=-1"], /1000/],
    [["orchestrator", "--data-dir", ""], /data-dir.*empty/],
    [["orchestrator", "--host", ""], /host.*empty/],
    [["orchestrator", "--domain", "example.com:80"], /without scheme, port and path/],
    [["orchestrator", "--health-path", "health"], /a path such as \/health/],
    [["orchestrator", "--health-check-interval", "0"], /100ms or more/],
    [["orchestrator", "--spawn-timeout", "0"], /100ms or more/],
    [["orchestrator", "--max-lifetime", "0"], /100ms or more/],
    [["orchestrator", "--trusted-proxies", "10.0.0.0/8,nonsense"], /nonsense.*neither an address nor a range/]
  ])("refuses %j and says what it takes", ([args, expected]) =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* valet(args)
      assert.strictEqual(code, 1)
      assert.match(stdout + stderr, expected)
    })
  )

  it.live("serve names every variable that is wrong, without its value, and ends with 2", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* valet(["serve"], {
        CONTROL_PLANE_SECRET: "hunter2",
        DATABASE_URL: "hunter2"
      })
      assert.strictEqual(code, 2)
      assert.strictEqual(stdout, "")
      assert.notInclude(stderr, "hunter2")
      for (const name of [
        "DATABASE_URL",
        "CONTROL_PLANE_SECRET",
        "VALET_FLY_TOKEN",
        "VALET_FLY_APP",
        "VALET_FLY_IMAGE"
      ]) {
        assert.include(stderr, name)
      }
    })
  )

  it.live("doctor --variables prints the table of all variables", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* valet(["doctor", "--variables"])
      assert.strictEqual(code, 0)
      assert.strictEqual(stdout.trim(), renderVariableTable())
    })
  )

  it.live("says so where no control plane answers", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* valet(["status", "--url", "http://127.0.0.1:1"])
      assert.strictEqual(code, 1)
      assert.match(stderr, /nothing answers at http:\/\/127\.0\.0\.1:1.*--url or VALET_URL/)
    })
  )
})
