import { assert, it } from "@effect/vitest"
import { formatDuration, parseDuration } from "../../src/domain/Duration.ts"

it.each([
  ["90s", 90_000],
  ["5m", 300_000],
  ["1h", 3_600_000],
  ["7d", 604_800_000],
  ["500ms", 500],
  ["1.5h", 5_400_000],
  [" 10 S ", 10_000],
  ["0", 0]
])("%s", (text, ms) => {
  assert.strictEqual(parseDuration(text, "s"), ms)
})

it("a bare number is in the default unit", () => {
  assert.strictEqual(parseDuration("2", "d"), 172_800_000)
  assert.strictEqual(parseDuration("2", "ms"), 2)
})

it.each([
  "",
  "s",
  "-1s",
  "1w",
  "1h30m",
  "1e3",
  "Infinity",
  "1.s",
  "constructor",
  "5toString",
  "9".repeat(40),
  "104249992d"
])("refuses %s", (text) => {
  assert.isUndefined(parseDuration(text, "s"))
})

it.each([
  [0, "0ms"],
  [1, "1ms"],
  [1500, "1500ms"],
  [90_000, "90s"],
  [300_000, "5m"],
  [3_600_000, "1h"],
  [604_800_000, "7d"]
])("%d ms reads %s, and back", (ms, text) => {
  assert.strictEqual(formatDuration(ms), text)
  assert.strictEqual(parseDuration(text, "d"), ms)
})
