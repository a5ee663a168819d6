/** A run's figures for people, for programs, and for the record. */
import type { Figure, Goal } from "./Bench.ts"
import type { Machine } from "./Machine.ts"

const significant = 3

export const shown = (value: number | null): string => {
  if (value === null) return "–"
  const rounded = Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(significant))
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 6 })
}

export const goalText = (goal: Goal | null, unit: string): string | null => {
  if (goal === null) return null
  const suffix = goal.of === "value" ? ` ${unit}` : ""
  return [
    ...(goal.atLeast === undefined ? [] : [`≥ ${shown(goal.atLeast)}${suffix}`]),
    ...(goal.atMost === undefined ? [] : [`≤ ${shown(goal.atMost)}${suffix}`])
  ].join(", ")
}

const metText = (met: boolean | null) => (met === null ? "" : met ? "met" : "missed")

const row = (figure: Figure): ReadonlyArray<string> => {
  const { base, baseValue, goal, met, name, note, ratio, spread, unit, value } = figure
  return [
    name,
    `${shown(value)} ${unit}`,
    base ?? "",
    base === null ? "" : shown(baseValue),
    ratio === null ? "" : ratio.toFixed(2),
    spread === null ? "" : `± ${Math.round((spread / 2) * 100)} %`,
    goalText(goal, unit) ?? "",
    metText(met),
    note ?? ""
  ]
}

const heads = ["figure", "median", "base", "its median", "ratio", "spread", "goal", "", ""]

export const table = (figures: ReadonlyArray<Figure>): string => {
  const rows = [heads, ...figures.map(row)]
  const widths = heads.map((_, at) => Math.max(...rows.map((cells) => cells[at]?.length ?? 0)))
  return rows
    .map((cells) =>
      cells
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

export interface Result {
  readonly bench: string
  readonly machine: Machine
  readonly figures: ReadonlyArray<{
    readonly name: string
    readonly value: number | null
    readonly unit: string
    readonly base: string | null
    readonly ratio: number | null
    readonly goal: string | null
    readonly met: boolean | null
  }>
}

/** The shape of `--json`. */
export const result = (bench: string, machine: Machine, figures: ReadonlyArray<Figure>): Result => ({
  bench,
  machine,
  figures: figures.map(({ base, goal, met, name, ratio, unit, value }) => ({
    name,
    value,
    unit,
    base,
    ratio,
    goal: goalText(goal, unit),
    met
  }))
})

/** What `--save` keeps: the same, with what the table shows beside. */
export const record = (
  bench: string,
  machine: Machine,
  figures: ReadonlyArray<Figure>,
  at: string,
  command: string
) => ({
  ...result(bench, machine, figures),
  at,
  command,
  figures: result(bench, machine, figures).figures.map((each, index) => ({
    ...each,
    base_value: figures[index]?.baseValue ?? null,
    spread: figures[index]?.spread ?? null,
    note: figures[index]?.note ?? null
  }))
})
