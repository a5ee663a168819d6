/** What is asked of the server's memory while it moves databases. */
import type { Figure } from "../harness/Bench.ts"
import { figure, median, type Series } from "../harness/Rounds.ts"

export interface Peaks {
  /** Of the database. */
  readonly size: string
  /** MB, by round. */
  readonly valet: Series | undefined
  readonly bare: Series | undefined
}

/** What a machine of 256 MB, the smallest there is, has for its server. */
const mostMb = 200

/**
 * From 100 MiB to 1 GiB. Before V8 collects buffers it lets tens of MB of them lie, so peaks grow with databases smaller
 * than that; beyond, a server that kept a twentieth of what it moves would need 1.3 times as much.
 */
const mostGrowth = 1.25
const smaller = "100 MiB"
const larger = "1 GiB"

/** By size; and flatness where both of its sizes were measured. */
export const memoryFigures = (found: ReadonlyArray<Peaks>): ReadonlyArray<Figure> => {
  const of = (size: string) => found.find((each) => each.size === size)?.valet
  const large = of(larger)
  const small = of(smaller)
  return [
    ...found.map(({ bare, size, valet }) =>
      figure({
        name: `peak memory, ${size}`,
        unit: "MB",
        series: valet,
        base: { name: "bare script", series: bare },
        goal: { of: "value", atMost: mostMb }
      })
    ),
    ...(large === undefined || small === undefined
      ? []
      : [
          figure({
            name: `peak memory, ${larger} beside ${smaller}`,
            unit: "MB",
            series: large,
            base: { name: `at ${smaller}`, series: large.map(() => median(small)) },
            goal: { atMost: mostGrowth }
          })
        ])
  ]
}
