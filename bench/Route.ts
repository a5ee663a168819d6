/**
 * `route`: the router's own work, answering with `fly-replay` for active projects of a million, beside the least that a
 * router of its kind can do: `node:http` with a Map, and on a miss the same query with the same driver.
 */
import * as Effect from "effect/Effect"
import { type Bench, BenchFailed, type Figure } from "./harness/Bench.ts"
import * as Load from "./harness/Load.ts"
import { alternate, figure } from "./harness/Rounds.ts"
import { fillCrowd, planeDatabase } from "./plane/Database.ts"
import { start } from "./plane/Processes.ts"
import { type Access, drawing, requestFor, requests, uniform, zipf } from "./route/Requests.ts"

/** Projects that are asked for again and again; all their routes are cached. */
const active = 10_000
const connections = 64
/** Of an open loop: as many as may wait at once. */
const openConnections = 512

interface Case {
  readonly name: string
  readonly access: Access
  readonly isUpgrade: boolean
  /** What the base answers from. */
  readonly base: string
  /** Nobody waits for the database, which shares the load's core. */
  readonly spin: boolean
}

const cases = (projects: number): ReadonlyArray<Case> =>
  [
    { name: "cached", access: uniform(Math.min(active, projects)), base: "node:http and a Map", spin: true },
    { name: "Zipf", access: zipf(projects), base: "node:http, a Map, a query", spin: false },
    { name: "uniform", access: uniform(projects), base: "node:http, a Map, a query", spin: false }
  ].flatMap((each) => [
    { ...each, name: `${each.name}, HTTP`, isUpgrade: false },
    { ...each, name: `${each.name}, upgrade`, isUpgrade: true }
  ])

const run = ({ quick }: { readonly quick: boolean }) =>
  Effect.gen(function* () {
    const projects = quick ? 150_000 : 1_000_000
    // Many short rounds: what else the machine does comes and goes within seconds.
    const times = quick ? { warmupMs: 150, measureMs: 800 } : { warmupMs: 200, measureMs: 1_000 }
    const database = yield* planeDatabase
    yield* fillCrowd(database, { projects, due: 1_000 })
    const env = { DATABASE_URL: database.url }
    const generator = yield* Load.make
    const servers = {
      bare: yield* start("route/Bare.ts", env),
      valet: yield* start("plane/PlaneServer.ts", env)
    }
    const draw = drawing(1)
    const once = Array.from({ length: active }, (_, at) => requestFor(at + 1, false))

    /** Caches what is asked for again and again, and lets both have compiled what they run. */
    const warm = (port: number) =>
      Effect.forEach(
        [
          { mode: "http", measureMs: quick ? 2_500 : 12_000, requests: once },
          { mode: "http", measureMs: quick ? 1_500 : 12_000, requests: requests(100_000, zipf(projects), draw, false) },
          { mode: "connect", measureMs: quick ? 1_500 : 6_000, requests: requests(50_000, zipf(projects), draw, true) }
        ] as const,
        (each) => generator.run({ ...each, port, connections, warmupMs: 0 }),
        { discard: true }
      )
    yield* Effect.forEach(Object.values(servers), ({ port }) => warm(port))

    const measured = (server: (typeof servers)["bare"], { access, isUpgrade, spin }: Case, perSecond?: number) =>
      Effect.gen(function* () {
        const before = yield* server.cpuSeconds
        const loaded = yield* generator.run({
          ...times,
          mode: isUpgrade ? "connect" : "http",
          port: server.port,
          connections: perSecond === undefined ? connections : openConnections,
          requests: requests(quick ? 30_000 : 80_000, access, draw, isUpgrade),
          spin,
          ...(perSecond === undefined ? {} : { perSecond })
        })
        const others = loaded.byClass.filter((count, at) => at !== 2 && count > 0).length
        if (others > 0 || loaded.done === 0) {
          return yield* new BenchFailed({ detail: `answers by class: ${loaded.byClass.join()}\n${server.said()}` })
        }
        const used = (yield* server.cpuSeconds) - before
        return { ...loaded, perCpuSecond: used > 0 ? loaded.total / used : null }
      })

    const figures = yield* Effect.forEach(cases(projects), (each) =>
      Effect.gen(function* () {
        /** Of the base, in the same round: what the open loops send is half of it. */
        let rate = 0
        const round = (server: (typeof servers)["bare"], isBase: boolean) =>
          Effect.gen(function* () {
            const closed = yield* measured(server, each)
            if (isBase) rate = Math.max(1, Math.floor(closed.perSecond / 2))
            const open = yield* measured(server, each, rate)
            return {
              values: { perSecond: closed.perSecond, p99Ms: open.p99Ms, perCpuSecond: closed.perCpuSecond },
              generatorCpu: Math.max(closed.generatorCpu, open.generatorCpu)
            }
          })
        const found = yield* alternate(each.name, quick ? 1 : 11, [
          { name: each.base, round: round(servers.bare, true) },
          { name: "valet", round: round(servers.valet, false) }
        ])
        const of = (
          name: string,
          unit: string,
          measure: "perSecond" | "p99Ms" | "perCpuSecond",
          goal?: Figure["goal"]
        ) =>
          figure({
            name: `${each.name}: ${name}`,
            unit,
            series: found.of("valet", measure),
            base: { name: each.base, series: found.of(each.base, measure) },
            ...(goal == null ? {} : { goal })
          })
        return [
          of("throughput", "/s", "perSecond", { atLeast: 0.85 }),
          of("p99 at half the base's rate", "ms", "p99Ms", { atMost: 1.5 }),
          of("per second of its CPU", "", "perCpuSecond")
        ]
      })
    )
    return figures.flat()
  })

export const route: Bench = {
  name: "route",
  summary: "replay answers for active projects of a million, beside a bare server with the same lookup",
  run
}
