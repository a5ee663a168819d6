/** What many runs came to, and one violation as a reader wants it. */
import type { SimulationResult } from "./Simulation.ts"

export interface Summary {
  readonly seeds: number
  readonly violations: ReadonlyArray<{
    readonly seed: number
    readonly invariant: string
    /** Milliseconds of simulated time since the run began. */
    readonly at: number
    readonly detail: string
  }>
  readonly simulated_days: number
  readonly operations: {
    readonly wakes: number
    readonly archives: number
    readonly creates: number
    readonly deletes: number
    readonly crashes: number
    readonly faults: number
  }
  readonly wall_ms: number
}

const dayMs = 24 * 60 * 60_000

export const totals = (results: ReadonlyArray<SimulationResult>): ReadonlyMap<string, number> => {
  const sums = new Map<string, number>()
  for (const { counts } of results) {
    for (const [name, count] of counts) sums.set(name, (sums.get(name) ?? 0) + count)
  }
  return new Map([...sums].toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

export const summaryOf = (results: ReadonlyArray<SimulationResult>, wallMs: number): Summary => {
  const sums = totals(results)
  const of = (name: string) => sums.get(name) ?? 0
  const faults = [...sums].reduce((sum, [name, count]) => (name.startsWith("fault ") ? sum + count : sum), 0)
  return {
    seeds: new Set(results.map(({ seed }) => seed)).size,
    violations: results.flatMap(({ seed, violation }) =>
      violation === null
        ? []
        : [{ seed, invariant: violation.invariant, at: Math.round(violation.at), detail: violation.detail }]
    ),
    simulated_days: Math.round((results.reduce((sum, { simulatedMs }) => sum + simulatedMs, 0) / dayMs) * 10) / 10,
    operations: {
      wakes: of("event woken"),
      archives: of("event archived"),
      creates: of("operation creates"),
      deletes: of("event deleted"),
      crashes: of("operation crashes"),
      faults
    },
    wall_ms: Math.round(wallMs)
  }
}

/** Lines of the run behind which it is no use to look. */
const lastSteps = 40

/** Seed, time, invariant, the project's history and the last steps; the last line replays it. */
export const explain = (result: SimulationResult, command: string): string => {
  const { history, lastSteps: steps, mode, seed, violation } = result
  if (violation === null) return `seed ${seed} ${mode}: no violation\n`
  const indented = (lines: ReadonlyArray<string>) => lines.map((line) => `    ${line}\n`).join("")
  return (
    `seed ${seed} ${mode}: ${violation.invariant} violated after ${(violation.at / 1_000).toFixed(3)} s\n` +
    `  ${violation.detail}\n` +
    (history.length === 0 ? "" : `  history of ${violation.projectId}\n${indented(history)}`) +
    `  last steps\n${indented(steps.slice(-lastSteps))}` +
    `  replay: ${command} --seed ${seed} --mode ${mode}\n`
  )
}
