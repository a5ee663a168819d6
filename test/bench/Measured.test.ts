import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { benches } from "../../bench/Benches.ts"
import * as Measured from "../../bench/harness/Measured.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const names = benches.map(({ name }) => name)
const results = here("../../bench/results/")

const figure = {
  name: "a|b",
  value: 12_345,
  unit: "/s",
  base: "bare",
  base_value: 13_000,
  ratio: 0.95,
  spread: 0.1,
  goal: "≥ 0.9",
  met: true,
  note: null
}
const run: Measured.Kept = {
  bench: "route",
  machine: { cpu: "a CPU", cores: 2, memory_gib: 8, node: "v24.0.0", kernel: "Linux 6.1", load: 0.5, pinned: true },
  at: "2026-01-02T03:04:05.000Z",
  command: "npm run bench -- route",
  figures: [figure, { ...figure, name: "without a goal", goal: null, met: null }, { ...figure, met: false }]
}

describe("what README says of the speed", () => {
  it.effect("is what the kept runs found", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const page = yield* fs.readFileString(here("../../README.md"))
      const runs = yield* Measured.read(results, names)
      assert.deepStrictEqual(
        runs.map(({ bench }) => bench),
        names
      )
      for (const { command } of runs) assert.notInclude(command, "--quick")
      assert.strictEqual(Measured.into(page, runs), page)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it("tables hold the figures that have a goal, in place of what stood between the marks", () => {
    const page = Measured.into("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n", [run])
    const lines = page.split("\n")
    assert.include(lines[3], "Each figure beside its bare limit")
    assert.deepStrictEqual(lines.toSpliced(3, 3), [
      "before",
      "<!-- bench:begin -->",
      "",
      "`npm run bench -- route`, 2026-01-02, a CPU, 2 cores, Node 24.0.0, load before it 0.5:",
      "",
      "| route | median | base | ratio | goal | |",
      "|---|---|---|---|---|---|",
      "| a\\|b | 12,345 /s | bare: 13,000 | 0.95 ± 5 % | ≥ 0.9 | met |",
      "| a\\|b | 12,345 /s | bare: 13,000 | 0.95 ± 5 % | ≥ 0.9 | missed |",
      "",
      "<!-- bench:end -->",
      "after",
      ""
    ])
  })
})
