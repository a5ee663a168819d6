/**
 * Candidates in turn, round by round, so that what else happens on the machine happens to all of them. A round in which
 * the load generator had nothing in reserve says more of it than of its target: it is void, and run again a few times.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type Figure, type Goal, isMet } from "./Bench.ts"

export interface Round<Name extends string> {
  readonly values: Readonly<Record<Name, number | null>>
  /** Of its core, 0 to 1; null where the load is no process of its own. */
  readonly generatorCpu: number | null
}

export interface Candidate<Name extends string, E, R> {
  readonly name: string
  readonly round: Effect.Effect<Round<Name>, E, R>
}

/** Of one candidate and one measure, a value for each round; null: void. */
export type Series = ReadonlyArray<number | null>

export interface Results<Name extends string> {
  /** Undefined where there is no such candidate. */
  of(candidate: string, measure: Name): Series | undefined
}

export const voidAbove = 0.9
/** More attempts at a void round. */
const again = 2

export const isVoid = (generatorCpu: number | null): boolean => generatorCpu !== null && generatorCpu > voidAbove

const percent = (part: number) => `${Math.round(part * 100)} %`

const show = (values: Readonly<Record<string, number | null>>) =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${value === null ? "none" : Number(value.toPrecision(4))}`)
    .join(", ")

const valid = <Name extends string, E, R>({ name, round }: Candidate<Name, E, R>) =>
  Effect.gen(function* () {
    for (let attempt = 0; attempt <= again; attempt++) {
      const { generatorCpu, values } = yield* round
      const used = generatorCpu === null ? "" : `, load generator ${percent(generatorCpu)} of its core`
      if (!isVoid(generatorCpu)) {
        yield* Console.error(`  ${name}: ${show(values)}${used}`)
        return values
      }
      yield* Console.error(`  ${name}: void, the load generator was the limit${used}`)
    }
    return null
  })

export const alternate = <Name extends string, E, R>(
  title: string,
  rounds: number,
  candidates: ReadonlyArray<Candidate<Name, E, R>>
): Effect.Effect<Results<Name>, E, R> =>
  Effect.gen(function* () {
    const found = new Map<string, Array<Readonly<Record<Name, number | null>> | null>>()
    for (let round = 1; round <= rounds; round++) {
      yield* Console.error(`${title}, round ${round} of ${rounds}`)
      for (const candidate of candidates) {
        const values = yield* valid(candidate)
        found.set(candidate.name, [...(found.get(candidate.name) ?? []), values])
      }
    }
    return {
      of: (candidate, measure) => found.get(candidate)?.map((values) => (values === null ? null : values[measure]))
    }
  })

const numbers = (series: Series) => series.filter((value) => value !== null)

export const median = (series: Series): number | null => {
  const sorted = numbers(series).toSorted((a, b) => a - b)
  const high = sorted[sorted.length >> 1]
  const low = sorted[(sorted.length - 1) >> 1]
  return high === undefined || low === undefined ? null : (low + high) / 2
}

/** Between the values that lie there, as far as `part` says. */
const quantile = (sorted: ReadonlyArray<number>, part: number): number => {
  const at = (sorted.length - 1) * part
  const [low = 0, high = low] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return low + (high - low) * (at % 1)
}

export const spread = (series: Series): number | null => {
  const sorted = numbers(series).toSorted((a, b) => a - b)
  const middle = median(series)
  return middle === null || middle === 0 ? null : (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / middle
}

/** Round by round: both were there when the machine was as it was. */
const ratios = (series: Series, base: Series): Series =>
  series.map((value, at) => {
    const beside = base[at]
    return value === null || beside === null || beside === undefined || beside === 0 ? null : value / beside
  })

export interface FigureInput {
  readonly name: string
  readonly unit: string
  /** Undefined: its candidate is not there. */
  readonly series: Series | undefined
  readonly base?: { readonly name: string; readonly series: Series | undefined }
  readonly goal?: Goal
  readonly note?: string
}

export const figure = ({ base, goal = {}, name, note, series = [], unit }: FigureInput): Figure => {
  const value = median(series)
  const beside = base === undefined ? null : ratios(series, base.series ?? [])
  const ratio = beside === null ? null : median(beside)
  const limits = goal.atLeast === undefined && goal.atMost === undefined ? null : goal
  const voided = series.filter((value) => value === null).length
  const said = [
    ...(note === undefined ? [] : [note]),
    ...(series.length > 0 && voided === series.length ? ["void in every round"] : []),
    ...(voided > 0 && voided < series.length ? [`${voided} of ${series.length} rounds void`] : []),
    ...(base !== undefined && base.series === undefined ? [`${base.name} is not there`] : [])
  ]
  return {
    name,
    value,
    unit,
    base: base?.name ?? null,
    baseValue: median(base?.series ?? []),
    ratio,
    spread: spread(beside ?? series),
    goal: limits,
    met: isMet(limits, value, ratio),
    ...(said.length === 0 ? {} : { note: said.join("; ") })
  }
}
