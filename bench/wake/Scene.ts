/** Wakes of one kind, one by one and many at once in the same rounds, by the plane and by the bare script in turn. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type BenchFailed, failed, type Figure, type Goal } from "../harness/Bench.ts"
import { alternate, figure, median, type Series } from "../harness/Rounds.ts"
import { type Task, type Wake, Wakes } from "./Task.ts"

const decodeWakes = Schema.decodeUnknownEffect(Wakes)

type Measure = keyof Wake | "p95"

/** The least value that so large a part of them does not exceed. */
export const quantile = (values: ReadonlyArray<number>, part: number): number | null =>
  values.toSorted((a, b) => a - b)[Math.ceil(part * values.length) - 1] ?? null

/** The median of each, and the 95th percentile of the whole. */
const measured = (wakes: ReadonlyArray<Wake>): Readonly<Record<Measure, number | null>> => {
  const all = (phase: keyof Wake) => wakes.map((wake) => wake[phase])
  return {
    total: median(all("total")),
    p95: quantile(all("total"), 0.95),
    begin: median(all("begin")),
    provision: median(all("provision")),
    configure: median(all("configure")),
    restore: median(all("restore")),
    commit: median(all("commit"))
  }
}

/** Has a process of this bench perform the task. */
export const ask = (port: number, task: Task) =>
  Effect.tryPromise((signal) =>
    fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: JSON.stringify(task), signal }).then((it) => it.text())
  ).pipe(
    Effect.flatMap(decodeWakes),
    Effect.timeout("15 minutes"),
    Effect.mapError(failed("wakes")),
    Effect.map((wakes) => ({ values: measured(wakes), generatorCpu: null }))
  )

export interface Scene {
  readonly name: string
  readonly rounds: number
  readonly task: Pick<Task, "source" | "budget" | "startMs">
  /** So many are woken one after the other for one value. */
  readonly alone: number
  readonly crowds: ReadonlyArray<number>
  /** The whole of one, to the bare script. */
  readonly goal: Goal
  readonly note?: string
}

export interface Played {
  /** The whole of one. */
  readonly total: Series | undefined
  readonly one: Figure
  readonly phases: ReadonlyArray<Figure>
  readonly crowds: ReadonlyArray<Figure>
}

const baseName = "the same calls"

export const play = (
  { alone, crowds, goal, name, note, rounds, task }: Scene,
  ports: { readonly bare: number; readonly valet: number }
): Effect.Effect<Played, BenchFailed> =>
  Effect.gen(function* () {
    const groups = [
      { group: "one", size: { projects: alone, atOnce: 1 } },
      ...crowds.map((count) => ({ group: `${count} at once`, size: { projects: count, atOnce: count } }))
    ]
    const found = yield* alternate(
      `wake ${name}`,
      rounds,
      groups.flatMap(({ group, size }) => [
        { name: `${baseName}, ${group}`, round: ask(ports.bare, { ...task, ...size }) },
        { name: `valet, ${group}`, round: ask(ports.valet, { ...task, ...size }) }
      ])
    )
    const said = note === undefined ? {} : { note }
    const beside = (group: string, measure: Measure) => ({
      unit: "ms",
      series: found.of(`valet, ${group}`, measure),
      base: { name: baseName, series: found.of(`${baseName}, ${group}`, measure) }
    })
    const total = found.of("valet, one", "total")
    const phases: ReadonlyArray<keyof Wake> =
      task.source === "pool"
        ? ["begin", "configure", "restore", "commit"]
        : ["begin", "provision", "configure", "restore", "commit"]
    return {
      total,
      one: figure({ name: `one, ${name}`, ...beside("one", "total"), goal, ...said }),
      phases: phases.map((phase) => figure({ name: `one, ${name}: ${phase}`, ...beside("one", phase) })),
      crowds: crowds.flatMap((count) => {
        const p95 = beside(`${count} at once`, "p95")
        return [
          figure({ name: `${count} at once, ${name}: p95`, ...p95, goal: { atMost: 1.3 }, ...said }),
          figure({
            name: `${count} at once, ${name}: p95 beside one`,
            ...p95,
            base: { name: "one", series: total },
            // What Fly's budget makes of many is no matter of the plane's.
            ...(count === 25 && !task.budget ? { goal: { atMost: 2 } } : {}),
            ...said
          })
        ]
      })
    }
  })
