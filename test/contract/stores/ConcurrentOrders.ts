/**
 * Which serial orders of a round explain it: on the model, every call returns what it returned to its client, in an
 * order in which no call stands before one that had returned when it was made, and the rows and events come out equal.
 *
 * Where the stores promise less than a serial order, and only there, more is allowed:
 * - A claim, and a pass that discards, skips rows that another statement has locked: a row that such a pass misses must
 *   be one that another call of the same time writes.
 * - What ends or takes over an operation throws away the rows that it had made when the statement began: one that was
 *   claimed or made while it waited for the project's row is left to the next pass over the ledger.
 * - Pool rows made in one round are as old as each other, since a row's time is its statement's and not its commit's.
 * - The view of a refusal is read after it: it may be that of any later moment of the round.
 * - Contention, and what the server gave up for its time, did not happen.
 */
import { isDeepStrictEqual } from "node:util"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ArchiveRow } from "../../../src/domain/Archive.ts"
import type { MachineRow } from "../../../src/domain/Machine.ts"
import type { StoreError } from "../../../src/services/db/StoreError.ts"
import { copyModel, fingerprint, type Model } from "./ConcurrentModel.ts"
import { allEvents, everything, normalize, perform, projectId, type Seen, type World } from "./HistoryRunner.ts"
import type { Step } from "./HistorySteps.ts"

export interface Call {
  readonly index: number
  readonly client: number
  readonly step: Step
  /** What its client knew. */
  readonly world: World
  /** Moments of the round, counted. */
  readonly invoked: number
  readonly returned: number
  /** Null: it did not happen. */
  readonly outcome: { readonly result: unknown } | null
}

export interface After {
  readonly names: World["machines"]
  readonly rows: unknown
  readonly events: unknown
}

interface PendingView {
  readonly project: number
  readonly view: unknown
}

interface Node {
  readonly model: Model
  readonly order: ReadonlyArray<Call>
  readonly pending: ReadonlyArray<PendingView>
}

export interface Explained {
  readonly models: ReadonlyArray<Model>
  /** Why each order that was tried does not explain the round. */
  readonly refuted: ReadonlyArray<string>
}

/** Events of one moment have no order of their own. */
export const asSets = (events: unknown): unknown =>
  Array.isArray(events)
    ? events.map((of) => (Array.isArray(of) ? of.map((event) => JSON.stringify(event)).toSorted() : of))
    : events

const told = (model: Model) => normalize(model.tables.projects.get(projectId(0))?.createdAt ?? model.now)

const refusal = (result: unknown): { readonly view: unknown } | null =>
  typeof result === "object" && result !== null && "_tag" in result && result._tag === "Refused" && "view" in result
    ? { view: result.view }
    : null

/** The call may have the row locked while another statement looks for rows that are free. */
const mayLock = ({ outcome, step, world }: Call, row: MachineRow | ArchiveRow): boolean => {
  if ("r2Key" in row) {
    if (step.op === "discardUploads") return true
    if ("archive" in step) return world.archive(step.archive) === row.r2Key
    return "project" in step && projectId(step.project) === row.projectId
  }
  if (["discardUnnamed", "discardAbandoned", "countAbsent", "purge"].includes(step.op)) return true
  if ("machine" in step && step.machine !== "newest" && world.machine(step.machine) === row.name) return true
  if ("project" in step && projectId(step.project) === row.project) return true
  return JSON.stringify(outcome?.result ?? null).includes(`"${row.name}"`)
}

const together = (a: Call, b: Call): boolean => a.invoked < b.returned && b.invoked < a.returned

/**
 * Rows that the call changed on the model and may have passed by: those that it takes only if they are free, and those
 * that it throws away as another operation's.
 */
const taken = ({ step }: Call, before: Model, after: Model): ReadonlyArray<MachineRow | ArchiveRow> => {
  const machines = (from: ReadonlyArray<MachineRow["status"]>, to: MachineRow["status"]) =>
    [...before.tables.machines.values()].filter(
      (row) => from.includes(row.status) && after.tables.machines.get(row.name)?.status === to
    )
  const claims = step.op === "create" || step.op === "beginWake" || step.op === "claimNext"
  return [
    ...(claims ? machines(["ready"], "assigned") : []),
    ...machines(["provisioning", "assigned"], "discarded"),
    ...[...before.tables.archives.values()].filter(
      (row) => row.status === "uploading" && after.tables.archives.get(row.r2Key)?.status === "discarded"
    )
  ]
}

const passes: ReadonlyArray<Step["op"]> = ["discardUnnamed", "discardAbandoned", "discardUploads"]

const keyOf = (row: MachineRow | ArchiveRow): string => ("r2Key" in row ? row.r2Key : row.name)

/** The model after the call, which found the hidden rows locked. */
const run = Effect.fnUntraced(function* (model: Model, call: Call, hidden: ReadonlyArray<MachineRow | ArchiveRow>) {
  const copy = yield* copyModel(model)
  const { archives, machines } = copy.tables
  for (const row of hidden) {
    if ("r2Key" in row) archives.delete(row.r2Key)
    else machines.delete(row.name)
  }
  const result = yield* Effect.provide(perform(call.step, call.index, call.world.copy()), copy.stores)
  for (const row of hidden) {
    if ("r2Key" in row) archives.set(row.r2Key, row)
    else machines.set(row.name, row)
  }
  const now = yield* Effect.provide(Clock.currentTimeMillis, copy.stores)
  return { model: { ...copy, now }, result: told(copy)(result) }
})

const clash = (label: string, model: unknown, live: unknown): string =>
  `${label}\n      model ${JSON.stringify(model)}\n      live  ${JSON.stringify(live)}`

const name = (calls: ReadonlyArray<Call>) => calls.map(({ index }) => `#${index}`).join(" ")

export const explain = Effect.fnUntraced(function* (
  models: ReadonlyArray<Model>,
  calls: ReadonlyArray<Call>,
  after: After
) {
  const happened = calls.filter(({ outcome }) => outcome !== null)
  const refuted: Array<string> = []
  const explaining = new Map<string, Model>()
  const visited = new Set<string>()

  const known = (row: MachineRow | ArchiveRow, { tables }: Model): boolean =>
    "r2Key" in row ? tables.archives.has(row.r2Key) : tables.machines.get(row.name)?.project === row.project

  const missable = (row: MachineRow | ArchiveRow, call: Call, { model }: Node): boolean => {
    const locked = calls.some((other) => other !== call && together(other, call) && mayLock(other, row))
    if (passes.includes(call.step.op)) return locked
    // Thrown away with the operation: what stands in the statement's snapshot is.
    if ("r2Key" in row || row.status !== "ready") return locked && !models.some((start) => known(row, start))
    const result = JSON.stringify(call.outcome?.result ?? null)
    return (
      locked ||
      [...model.tables.machines.values()].some(
        (other) => other.name !== row.name && other.createdAt === row.createdAt && result.includes(`"${other.name}"`)
      )
    )
  }

  /** The states in which the call may leave the model with the result that its client got. */
  const alternatives = Effect.fnUntraced(function* (node: Node, call: Call) {
    const found: Array<Node> = []
    const tried = new Set<string>()
    const open: Array<ReadonlyArray<MachineRow | ArchiveRow>> = [[]]
    for (let hidden = open.pop(); hidden !== undefined; hidden = open.pop()) {
      const key = hidden.map(keyOf).toSorted().join(" ")
      if (tried.has(key)) continue
      tried.add(key)
      const { model, result } = yield* run(node.model, call, hidden)
      const live = call.outcome?.result
      const refused = refusal(live)
      const fits = refused === null ? isDeepStrictEqual(result, live) : refusal(result) !== null
      if (fits) {
        const view =
          refused === null || !("project" in call.step) ? [] : [{ project: call.step.project, view: refused.view }]
        const pending = [...node.pending, ...view].filter(
          (seen) => !isDeepStrictEqual(told(model)(model.tables.viewOf(projectId(seen.project))), seen.view)
        )
        found.push({ model, order: [...node.order, call], pending })
      } else {
        refuted.push(
          clash(`${name([...node.order, call])}: ${key && `without ${key}: `}its result`, ...differing(result, live))
        )
      }
      for (const row of taken(call, node.model, model)) {
        if (missable(row, call, node)) open.push([...hidden, row])
      }
    }
    return found
  })

  const check = Effect.fnUntraced(function* ({ model, order, pending }: Node) {
    const where = name(order)
    for (const { view } of pending) refuted.push(clash(`${where}: a refusal's view`, "was never so", view))
    if (pending.length > 0) return
    const seen: Seen = yield* Effect.provide(everything(after.names), model.stores)
    const rows = told(model)(seen)
    const events = asSets(told(model)(yield* Effect.provide(allEvents, model.stores)))
    if (!isDeepStrictEqual(rows, after.rows)) refuted.push(clash(`${where}: rows`, ...differing(rows, after.rows)))
    else if (!isDeepStrictEqual(events, after.events)) {
      refuted.push(clash(`${where}: events`, ...differing(events, after.events)))
    } else explaining.set(fingerprint(model), model)
  })

  const visit = (node: Node): Effect.Effect<void, StoreError, Scope.Scope> =>
    Effect.gen(function* () {
      const left = happened.filter((call) => !node.order.includes(call))
      const key = JSON.stringify([name(left), fingerprint(node.model), node.pending])
      if (visited.has(key)) return
      visited.add(key)
      if (left.length === 0) return yield* check(node)
      for (const call of left) {
        if (left.some((other) => other.returned < call.invoked)) continue
        for (const next of yield* alternatives(node, call)) yield* visit(next)
      }
    })

  for (const model of models) {
    const later = yield* copyModel(model, 1)
    yield* visit({ model: later, order: [], pending: [] })
  }
  return { models: [...explaining.values()], refuted } satisfies Explained
}, Effect.scoped)

/** Only the parts that differ, so that a report can be read. */
const differing = (a: unknown, b: unknown): readonly [unknown, unknown] => {
  if (Array.isArray(a) && Array.isArray(b) && a.length === b.length) {
    const at = a.map((_, i) => i).filter((i) => !isDeepStrictEqual(a[i], b[i]))
    const inner = at.map((i) => differing(a[i], b[i]))
    return [inner.map(([left]) => left), inner.map(([, right]) => right)]
  }
  if (typeof a === "object" && typeof b === "object" && a !== null && b !== null && !Array.isArray(a)) {
    const right = new Map(Object.entries(b))
    const keys = Object.entries(a).filter(([key, value]) => !isDeepStrictEqual(value, right.get(key)))
    const inner = keys.map(([key, value]) => [key, differing(value, right.get(key))] as const)
    const label = "name" in a ? { name: a.name } : "r2Key" in a ? { r2Key: a.r2Key } : {}
    return [
      { ...label, ...Object.fromEntries(inner.map(([key, [left]]) => [key, left])) },
      Object.fromEntries(inner.map(([key, [, value]]) => [key, value]))
    ]
  }
  return [a, b]
}
