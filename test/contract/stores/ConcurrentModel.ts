/** The memory stores as a value: a state that can be copied, so that each serial order of a round starts from the same. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { MemoryDatabase } from "../../../src/testing/memory/MemoryDatabase.ts"
import { layerMemoryStores } from "../../../src/testing/memory/MemoryStores.ts"
import type { MemoryTables } from "../../../src/testing/memory/MemoryTables.ts"
import { StoreTime, type Stores } from "./StoreHarness.ts"

export interface Model {
  readonly now: number
  readonly tables: MemoryTables
  readonly stores: Context.Context<Stores>
}

const time = Layer.succeed(StoreTime, { advance: (ms) => TestClock.adjust(ms), driftMs: 0 })
const layer = Layer.fresh(Layer.merge(layerMemoryStores, time)).pipe(Layer.provideMerge(TestClock.layer()))

export const emptyModel: Effect.Effect<Model, never, Scope.Scope> = Effect.map(Layer.build(layer), (stores) => ({
  now: 0,
  tables: Context.get(stores, MemoryDatabase).tables,
  stores
}))

/** The same rows at a moment `laterMs` later. */
export const copyModel = Effect.fnUntraced(function* ({ now, tables: from }: Model, laterMs = 0) {
  const { stores, tables: to } = yield* emptyModel
  for (const project of from.projects.values()) {
    to.putProject(project, now)
    for (const event of from.eventsOf(project.projectId)) to.append(project.projectId, [event], event.at)
  }
  for (const row of from.machines.values()) to.putMachine(row, from.deletionsOf(row.name))
  for (const row of from.archives.values()) to.putArchive(row)
  const refill = <K, V>(target: Map<K, V>, source: ReadonlyMap<K, V>) => {
    target.clear()
    for (const [key, value] of source) target.set(key, value)
  }
  refill(to.begunAt, from.begunAt)
  refill(to.accepted, from.accepted)
  refill(to.idempotency, from.idempotency)
  refill(to.arrivals, from.arrivals)
  refill(to.strays.machine, from.strays.machine)
  refill(to.strays.volume, from.strays.volume)
  to.identity = from.identity
  yield* Effect.provide(TestClock.setTime(now + laterMs), stores)
  return { now: now + laterMs, tables: to, stores } satisfies Model
})

const sorted = (rows: Iterable<unknown>): ReadonlyArray<string> =>
  Array.from(rows, (row) => JSON.stringify(row)).toSorted()

/** Equal where nothing that is asked of two models later can tell them apart. Events are a set. */
export const fingerprint = ({ now, tables }: Model): string =>
  JSON.stringify([
    now,
    sorted(tables.projects.values()),
    sorted(Array.from(tables.machines.values(), (row) => [row, tables.deletionsOf(row.name)])),
    sorted(tables.archives.values()),
    sorted([...tables.projects.keys()].flatMap((id) => tables.eventsOf(id).map((event) => ({ ...event, id: 0 })))),
    sorted(tables.accepted),
    sorted(tables.idempotency),
    sorted(tables.arrivals),
    sorted(tables.strays.machine),
    sorted(tables.strays.volume)
  ])
