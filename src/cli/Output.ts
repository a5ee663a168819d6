/** What commands print: JSON for programs, aligned columns for people. */
import * as Console from "effect/Console"
import type * as Effect from "effect/Effect"

export type Row = ReadonlyArray<string | number | boolean | null>

/** Columns as wide as their widest cell, two spaces apart. */
export const table = (header: Row, rows: ReadonlyArray<Row>): string => {
  const lines = [header, ...rows].map((row) => row.map((cell) => (cell === null ? "-" : String(cell))))
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** `name: value` lines. */
export const fields = (values: Readonly<Record<string, string | number | boolean | null>>): string => {
  const width = Math.max(...Object.keys(values).map((name) => name.length)) + 1
  return Object.entries(values)
    .map(([name, value]) => `${`${name}:`.padEnd(width)} ${value === null ? "-" : String(value)}`)
    .join("\n")
}

export const print = (json: boolean, value: unknown, human: () => string): Effect.Effect<void> =>
  Console.log(json ? JSON.stringify(value, null, 2) : human())
