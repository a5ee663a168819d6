/**
 * Runs random rounds on live stores, and after each asks the model which serial orders explain it. What a seed draws is
 * the same for the same rows; how its calls meet is up to the database, so a report is complete in itself.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { StoreError } from "../../../src/services/db/StoreError.ts"
import { type Round, firstRound, round } from "./ConcurrentHistory.ts"
import { emptyModel, type Model } from "./ConcurrentModel.ts"
import { type After, asSets, type Call, explain } from "./ConcurrentOrders.ts"
import { seededDice } from "./histories.ts"
import { allEvents, everything, normalize, perform, World } from "./HistoryRunner.ts"
import type { Stores } from "./StoreHarness.ts"

export interface Live {
  /** Clients take them in turns. */
  readonly instances: readonly [Context.Context<Stores>, ...ReadonlyArray<Context.Context<Stores>>]
  /** Runs the clients, while the projects' rows are locked until as many of them as `expected` says wait for a lock. */
  readonly gate: <E, R>(
    projects: ReadonlyArray<number>,
    expected: () => number,
    clients: Effect.Effect<void, E, R>
  ) => Effect.Effect<void, E, R>
}

/** What came of a history; `failure` is its report. */
export interface Outcome {
  readonly rounds: number
  readonly calls: number
  /** Calls that did not happen, for contention. */
  readonly refused: number
  readonly failure: string | null
}

const describe = ({ client, index, invoked, outcome, returned, step }: Call): string =>
  `  #${index} client ${client}, ${invoked} to ${returned}: ${JSON.stringify(step)}\n    ` +
  (outcome === null ? "contention" : JSON.stringify(outcome.result ?? null))

const report = (seed: number, number: number, played: Round, calls: ReadonlyArray<Call>, why: ReadonlyArray<string>) =>
  [
    `seed ${seed}, round ${number}${played.gated.length > 0 ? `, gated by p${played.gated.join(", p")}` : ""}:`,
    ...calls.toSorted((a, b) => a.index - b.index).map(describe),
    "no serial order explains it:",
    ...why.map((line) => `  ${line}`)
  ].join("\n")

/** So few that inserts at the same time meet the limit. */
const maxMachines = 12

/** The server refused it or gave up: it did not happen. */
const isRefused = (error: StoreError): boolean => error.reason === "Contention" || error.reason === "Unavailable"

export const runConcurrent = Effect.fnUntraced(function* (seed: number, rounds: number, live: Live) {
  const d = seededDice(seed)
  const [one] = live.instances
  const world = new World(maxMachines)
  let models: ReadonlyArray<Model> = [yield* Effect.scoped(emptyModel)]
  let start: number | null = null
  let made = 0
  const total = { rounds: 0, calls: 0, refused: 0 }

  while (total.rounds < rounds) {
    const played = total.rounds === 0 ? firstRound : round(d, world)
    const before = world.copy()
    const calls: Array<Call & { readonly raw: unknown }> = []
    let moment = 0
    let done = 0

    const client = Effect.fnUntraced(function* (position: number, indexes: ReadonlyArray<number>) {
      const stores = live.instances[position % live.instances.length] ?? one
      const own = before.copy()
      for (const [at, step] of (played.clients[position] ?? []).entries()) {
        const known = own.copy()
        const index = indexes[at] ?? 0
        const invoked = moment++
        const exit = yield* perform(step, index, own).pipe(Effect.provide(stores), Effect.result)
        const call = { index, client: position, step, world: known, invoked, returned: moment++ }
        if (exit._tag === "Success") calls.push({ ...call, outcome: { result: null }, raw: exit.success })
        else if (isRefused(exit.failure)) {
          calls.push({ ...call, outcome: null, raw: null })
          break
        } else return yield* exit.failure
      }
      done += 1
      return own
    })

    const numbered = played.clients.map((steps) => steps.map(() => made++))
    const together = Effect.forEach(numbered, (indexes, position) => client(position, indexes), {
      concurrency: "unbounded"
    }).pipe(
      Effect.map((worlds) => {
        for (const later of worlds) world.add(later, before)
      })
    )
    yield* played.gated.length === 0 ? together : live.gate(played.gated, () => played.clients.length - done, together)

    world.seen = yield* Effect.provide(everything(world.machines), one)
    start ??= world.project(0)?.project.createdAt ?? 0
    const tell = normalize(start)
    const observed = calls.map(({ raw, ...call }): Call =>
      call.outcome === null ? call : { ...call, outcome: { result: tell(raw) } }
    )
    const after: After = {
      names: world.machines,
      rows: tell(world.seen),
      events: asSets(tell(yield* Effect.provide(allEvents, one)))
    }
    const explained = yield* explain(models, observed, after)
    models = explained.models
    total.rounds += 1
    total.calls += observed.length
    total.refused += observed.filter(({ outcome }) => outcome === null).length
    if (models.length === 0) {
      return { ...total, failure: report(seed, total.rounds, played, observed, explained.refuted) } satisfies Outcome
    }
  }
  return { ...total, failure: null } satisfies Outcome
})
