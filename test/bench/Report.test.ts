import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Machine } from "../../bench/harness/Machine.ts"
import { goalText, record, result, table } from "../../bench/harness/Report.ts"
import { figure } from "../../bench/harness/Rounds.ts"

const machine: Machine = {
  cpu: "a CPU",
  cores: 2,
  memory_gib: 8,
  node: "v24.0.0",
  kernel: "Linux 6.1",
  load: 0.5,
  pinned: true
}

const figures = [
  figure({
    name: "requests",
    unit: "/s",
    series: [9_000, 11_000, 10_000],
    base: { name: "bare", series: [10_000, 10_000, 10_000] },
    goal: { atLeast: 0.95 }
  }),
  figure({ name: "memory", unit: "MB", series: [250], goal: { of: "value", atMost: 200 } })
]

const Line = Schema.fromJsonString(
  Schema.Struct({
    bench: Schema.String,
    machine: Schema.Record(Schema.String, Schema.Unknown),
    figures: Schema.Array(
      Schema.Struct({
        name: Schema.String,
        value: Schema.NullOr(Schema.Finite),
        unit: Schema.String,
        base: Schema.NullOr(Schema.String),
        ratio: Schema.NullOr(Schema.Finite),
        goal: Schema.NullOr(Schema.String),
        met: Schema.NullOr(Schema.Boolean)
      })
    )
  })
)

describe("a report", () => {
  it("JSON is one line of this shape and no more", () => {
    const line = JSON.stringify(result("proxy", machine, figures))
    assert.notInclude(line, "\n")
    const read = Schema.decodeSync(Line, { onExcessProperty: "error" })(line)
    assert.deepStrictEqual(read.figures, [
      { name: "requests", value: 10_000, unit: "/s", base: "bare", ratio: 1, goal: "≥ 0.95", met: true },
      { name: "memory", value: 250, unit: "MB", base: null, ratio: null, goal: "≤ 200 MB", met: false }
    ])
  })

  it("the table has the base's value in a column of its own", () => {
    const [head = "", first = "", second = ""] = table(figures).split("\n")
    const cells = (line: string) => line.split(/\s{2,}/)
    assert.deepStrictEqual(cells(head).slice(0, 7), [
      "figure",
      "median",
      "base",
      "its median",
      "ratio",
      "spread",
      "goal"
    ])
    assert.deepStrictEqual(cells(first), ["requests", "10,000 /s", "bare", "10,000", "1.00", "± 5 %", "≥ 0.95", "met"])
    assert.include(second, "missed")
  })

  it("what is kept tells how it was measured", () => {
    const kept = record("proxy", machine, figures, "2026-01-01T00:00:00.000Z", "npm run bench -- proxy")
    assert.strictEqual(kept.command, "npm run bench -- proxy")
    assert.strictEqual(kept.figures[0]?.base_value, 10_000)
    assert.closeTo(kept.figures[0]?.spread ?? 0, 0.1, 1e-9)
  })

  it("a goal reads as its two limits", () => {
    assert.strictEqual(goalText({ atLeast: 0.5, atMost: 2 }, "/s"), "≥ 0.5, ≤ 2")
    assert.isNull(goalText(null, "/s"))
  })
})
