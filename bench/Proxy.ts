/** The orchestrator's proxy beside other proxies: HTTP requests, WebSocket messages, connections, memory. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type Bench, type BenchFailed, type Figure, type Goal } from "./harness/Bench.ts"
import * as Load from "./harness/Load.ts"
import { alternate, figure, median, type Results, type Round, type Series } from "./harness/Rounds.ts"
import { inNode, make, type Name, names, type Running } from "./proxy/Contestants.ts"
import { get, upgrade } from "./proxy/Requests.ts"

interface Pace {
  readonly isQuick: boolean
  readonly rounds: number
  readonly warmupMs: number
  readonly measureMs: number
  readonly idleConnections: number
  /** How long after they came memory is looked at, the last time for the goals: does what connecting left behind go? */
  readonly idleSeconds: ReadonlyArray<number>
}

const full: Pace = {
  isQuick: false,
  rounds: 5,
  warmupMs: 300,
  measureMs: 1_500,
  idleConnections: 5_000,
  idleSeconds: [2, 30]
}
const quick: Pace = {
  isQuick: true,
  rounds: 1,
  warmupMs: 250,
  measureMs: 250,
  idleConnections: 1_000,
  idleSeconds: [2]
}

const connections = 50

interface Task {
  readonly title: string
  readonly unit: string
  readonly load: Omit<Load.Load, "port" | "warmupMs" | "measureMs">
  readonly goals: Partial<Record<Name, Goal>>
  /** Latency is measured at half of what this one could do; of a message alone. */
  readonly latencyAtHalfOf?: Name
}

const ahead: Goal = { atLeast: 1 }

const message = (title: string, messageBytes: number, nginx: number): Task => ({
  title: `WebSocket ${title}`,
  unit: "messages/s",
  load: { mode: "message", connections, requests: [upgrade], messageBytes },
  goals: { nginx: { atLeast: nginx }, Caddy: ahead, "http-proxy-3": ahead },
  latencyAtHalfOf: "nginx"
})

const tasks: ReadonlyArray<Task> = [
  message("128 B", 128, 0.95),
  message("64 KiB", 65_536, 1),
  {
    title: "HTTP",
    unit: "requests/s",
    load: { mode: "http", connections, requests: [get] },
    goals: { "bare Node": { atLeast: 0.95 } }
  },
  { title: "upgrades", unit: "connections/s", load: { mode: "connect", connections, requests: [upgrade] }, goals: {} }
]

type Measure = "throughput" | "perCpuSecond" | "p50" | "p99"

/** One round; also what it did for each second of its own CPU, which others on its core take nothing from. */
const measured = (generator: Load.Generator, { port, process }: Running, task: Task, pace: Pace, perSecond?: number) =>
  Effect.gen(function* () {
    const before = yield* process.cpuSeconds
    const { warmupMs, measureMs } = pace
    const at = perSecond === undefined ? {} : { perSecond }
    const loaded = yield* generator.run({ ...task.load, ...at, port, warmupMs, measureMs })
    const used = (yield* process.cpuSeconds) - before
    if (loaded.failed > 0) yield* Console.error(`  ${loaded.failed} exchanges failed`)
    const values: Readonly<Record<Measure, number | null>> = {
      throughput: loaded.perSecond,
      perCpuSecond: used > 0 ? loaded.total / used : null,
      p50: loaded.p50Ms,
      p99: loaded.p99Ms
    }
    return { values, generatorCpu: loaded.generatorCpu }
  })

/** A peer that breaks down has no figure; the others still have theirs. */
const survived = (
  round: Effect.Effect<Round<Measure>, BenchFailed>,
  { name }: Running
): Effect.Effect<Round<Measure>, BenchFailed> =>
  name === "valet"
    ? round
    : Effect.catchTag(round, "BenchFailed", ({ message }) =>
        Effect.as(Console.error(`  ${name} breaks down: ${message}`), {
          values: { throughput: null, perCpuSecond: null, p50: null, p99: null },
          generatorCpu: null
        })
      )

/** A row for each of the others that is there. */
const beside = (
  found: Results<Measure>,
  measure: Measure,
  input: { readonly name: string; readonly unit: string; readonly goals: Partial<Record<Name, Goal>> }
): ReadonlyArray<Figure> =>
  names
    .filter((name) => name !== "valet")
    .flatMap((name) => {
      const series = found.of(name, measure)
      const goal = input.goals[name]
      if (series === undefined && goal === undefined) return []
      return figure({
        name: input.name,
        unit: input.unit,
        series: found.of("valet", measure),
        base: { name, series },
        ...(goal === undefined ? {} : { goal })
      })
    })

const perform = (generator: Load.Generator, running: ReadonlyArray<Running>, task: Task, pace: Pace) =>
  Effect.gen(function* () {
    const closed = yield* alternate<Measure, BenchFailed, never>(
      task.title,
      pace.rounds,
      running.map((one) => ({ name: one.name, round: survived(measured(generator, one, task, pace), one) }))
    )
    const { goals, title, unit } = task
    const figures = [
      ...beside(closed, "throughput", { name: title, unit, goals }),
      ...beside(closed, "perCpuSecond", {
        name: `${title}, per second of CPU`,
        unit: unit.replace("/s", ""),
        goals: {}
      })
    ]
    if (task.latencyAtHalfOf === undefined) return figures
    const base = median(closed.of(task.latencyAtHalfOf, "throughput") ?? closed.of("bare Node", "throughput") ?? [])
    if (base === null) return figures
    const perSecond = Math.max(1, Math.round(base / 2))
    const open = yield* alternate<Measure, BenchFailed, never>(
      `${title}, ${perSecond} a second`,
      pace.rounds,
      running.map((one) => ({ name: one.name, round: survived(measured(generator, one, task, pace, perSecond), one) }))
    )
    const at = `at ${perSecond}/s`
    return [
      ...figures,
      ...beside(open, "p50", { name: `${title} p50 ${at}`, unit: "ms", goals: {} }),
      ...beside(open, "p99", { name: `${title} p99 ${at}`, unit: "ms", goals: {} })
    ]
  })

const memory = (generator: Load.Generator, { idleConnections, idleSeconds, isQuick }: Pace) =>
  Effect.gen(function* () {
    const looks = idleSeconds.map((seconds) => ({ seconds, held: new Map<string, Series>() }))
    yield* Console.error(`memory of ${idleConnections} idle connections`)
    for (const contestant of yield* make(generator)) {
      if (contestant.name === "direct" || (isQuick && !inNode.includes(contestant.name))) continue
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { port, process } = yield* contestant.start
          const before = yield* process.memoryBytes
          yield* generator.hold(port, idleConnections, upgrade)
          let waited = 0
          for (const { held, seconds } of looks) {
            yield* Effect.sleep((seconds - waited) * 1_000)
            waited = seconds
            const each = ((yield* process.memoryBytes) - before) / idleConnections / 1_024
            yield* Console.error(`  ${contestant.name}, after ${seconds} s: ${each.toFixed(1)} KiB`)
            held.set(contestant.name, [each])
          }
        })
      )
    }
    const atMost = inNode.filter((name) => name !== "valet").map((name): [Name, Goal] => [name, { atMost: 1 }])
    return looks.flatMap(({ held, seconds }, at) => {
      const name = `memory of an idle WebSocket of ${idleConnections}, ${seconds} s after they came`
      const goals = at === looks.length - 1 ? Object.fromEntries(atMost) : {}
      return beside({ of: (candidate) => held.get(candidate) }, "p50", { name, unit: "KiB", goals })
    })
  })

export const proxy: Bench = {
  name: "proxy",
  summary: "the orchestrator's proxy: HTTP, WebSocket, connections, memory, beside other proxies",
  run: (options) =>
    Effect.gen(function* () {
      const pace = options.quick ? quick : full
      const generator = yield* Load.make
      const figures = yield* Effect.scoped(
        Effect.gen(function* () {
          const running = yield* Effect.forEach(yield* make(generator), ({ start }) => start)
          return (yield* Effect.forEach(tasks, (task) => perform(generator, running, task, pace))).flat()
        })
      )
      return [...figures, ...(yield* Effect.scoped(memory(generator, pace)))]
    })
}
