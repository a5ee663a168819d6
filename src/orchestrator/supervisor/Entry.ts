/**
 * What is known of one project's server. Every change is one synchronous step, so that whoever reads an entry between
 * two effects sees it whole: a use that was counted is seen by whoever wants to stop the server.
 *
 * To complete a Deferred runs whoever waits for it before it returns. So that is the last thing in each step.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { ProjectPlan } from "../ProjectFolders.ts"
import type { Started } from "../Starter.ts"
import type { Health } from "./Health.ts"
import type { Ending } from "./Next.ts"
import type { Target, Use } from "./Use.ts"
import type { Unavailable } from "./Unavailable.ts"

/** From the decision to start a process until it is gone. */
export interface Life {
  readonly since: number
  /** Null while it shall go on; set once. */
  ending: Ending | null
  /** When it ended: by a connection, a request or a lease. */
  wasInUse: boolean
  /** Done when `ending` is set. */
  readonly ended: Deferred.Deferred<void>
  readonly gone: Deferred.Deferred<void>
}

export interface Running {
  readonly started: Started
  readonly target: Target
  readonly readyAt: number
  plan: ProjectPlan
  health: Health
}

export type State =
  | { readonly _tag: "Starting"; readonly life: Life }
  | { readonly _tag: "Running"; readonly life: Life; readonly running: Running }
  /** Null where it had not started. */
  | { readonly _tag: "Stopping"; readonly life: Life; readonly running: Running | null }
  | { readonly _tag: "Backoff"; readonly retryAt: number; readonly restart: boolean }
  | { readonly _tag: "Failed"; readonly retryAt: number }
  /** In no map any more; only those who used it last may still hold it. */
  | { readonly _tag: "Gone" }

/** In the number of servers that may live at the same time. */
export interface Place {
  state: "none" | "waiting" | "held"
  granted: Deferred.Deferred<void>
}

/** One use: waits for the server, then is counted, until it is over. */
export interface Ticket {
  readonly kind: Use["kind"]
  entry: Entry | null
  counted: boolean
}

export interface Entry {
  readonly project: ProjectId
  state: State
  /** Of the next time that it runs, or can't; always one that is not done. */
  arrival: Deferred.Deferred<Target, Unavailable>
  readonly waiters: Set<Ticket>
  connections: number
  /** Under way. */
  requests: number
  lastActivityAt: number
  lease: { readonly until: number; readonly reason: string } | null
  /** SHA-256 of the process' own token; null where there is no process. */
  token: Uint8Array | null
  readonly place: Place
  /** Done and replaced when what its fiber waits for may have changed. */
  changed: Deferred.Deferred<void>
  /** Whom its start counts for; null once something was started. */
  spawn: { readonly client: string | null; readonly at: number } | null
  // What the status tells beside.
  served: number
  restarts: number
  coldStartMs: number | null
  lastError: string | null
  lastOutput: ReadonlyArray<string>
}

const makeLife = (since: number): Life => ({
  since,
  ending: null,
  wasInUse: false,
  ended: Deferred.makeUnsafe(),
  gone: Deferred.makeUnsafe()
})

export const make = (project: ProjectId, client: string | null, now: number): Entry => ({
  project,
  state: { _tag: "Starting", life: makeLife(now) },
  arrival: Deferred.makeUnsafe(),
  waiters: new Set(),
  connections: 0,
  requests: 0,
  lastActivityAt: now,
  lease: null,
  token: null,
  place: { state: "none", granted: Deferred.makeUnsafe() },
  changed: Deferred.makeUnsafe(),
  spawn: { client, at: now },
  served: 0,
  restarts: 0,
  coldStartMs: null,
  lastError: null,
  lastOutput: []
})

export const isLeased = ({ lease }: Entry, now: number): boolean => lease !== null && lease.until > now

/** Held for nobody knows how long, unlike by a request. */
export const isHeld = (entry: Entry, now: number): boolean => entry.connections > 0 || isLeased(entry, now)

/** By whoever has its target; not by those who wait for one. */
export const isInUse = (entry: Entry, now: number): boolean => entry.requests > 0 || isHeld(entry, now)

/** Null while it is in use. */
export const idleSince = (entry: Entry, now: number): number | null =>
  isInUse(entry, now) ? null : Math.max(entry.lastActivityAt, entry.lease?.until ?? 0)

/** When a running server's idle time ends if nobody comes; null while it is in use, and where it never ends. */
export const stopsAt = (entry: Entry, { plan }: Running, now: number): number | null => {
  const since = idleSince(entry, now)
  return since === null || plan.idleTimeoutMs === 0 ? null : since + plan.idleTimeoutMs
}

const count = (entry: Entry, ticket: Ticket): void => {
  ticket.counted = true
  if (ticket.kind === "connection") entry.connections += 1
  else {
    entry.requests += 1
    entry.served += 1
  }
}

/** Only of a running server. */
export const hold = (entry: Entry, ticket: Ticket, now: number): void => {
  ticket.entry = entry
  entry.lastActivityAt = now
  count(entry, ticket)
}

/** What the ticket has to wait for. */
export const join = (entry: Entry, ticket: Ticket): Entry["arrival"] => {
  ticket.entry = entry
  entry.waiters.add(ticket)
  return entry.arrival
}

/** Safe to call again, and whatever became of the entry. Returns it where the ticket was of one. */
export const release = (ticket: Ticket, now: number): Entry | null => {
  const { entry } = ticket
  if (entry === null) return null
  ticket.entry = null
  if (!ticket.counted) {
    entry.waiters.delete(ticket)
    return entry
  }
  if (ticket.kind === "connection") entry.connections -= 1
  else entry.requests -= 1
  entry.lastActivityAt = now
  return entry
}

export const notify = (entry: Entry): void => {
  const { changed } = entry
  entry.changed = Deferred.makeUnsafe()
  Deferred.doneUnsafe(changed, Effect.void)
}

const nextArrival = (entry: Entry): Entry["arrival"] => {
  const { arrival } = entry
  entry.arrival = Deferred.makeUnsafe()
  entry.waiters.clear()
  return arrival
}

/** Nobody waits any more. Those who did are told by what this returns, once all else is in order. */
export const dismiss = (entry: Entry): ((error: Unavailable) => void) => {
  for (const ticket of entry.waiters) ticket.entry = null
  const arrival = nextArrival(entry)
  return (error) => void Deferred.doneUnsafe(arrival, Effect.fail(error))
}

/** Ready: whoever waits is counted at this very moment. */
export const run = (entry: Entry, life: Life, running: Running): void => {
  entry.state = { _tag: "Running", life, running }
  entry.coldStartMs = running.readyAt - life.since
  entry.lastActivityAt = running.readyAt
  for (const ticket of entry.waiters) count(entry, ticket)
  Deferred.doneUnsafe(nextArrival(entry), Effect.succeed(running.target))
}

/** A new life. The fiber of an entry that rested is woken. */
export const start = (entry: Entry, now: number): void => {
  entry.state = { _tag: "Starting", life: makeLife(now) }
  notify(entry)
}

/** False where its end is decided already, or nothing lives. */
export const end = (entry: Entry, ending: Ending, now: number): boolean => {
  const { state } = entry
  if (state._tag !== "Starting" && state._tag !== "Running") return false
  const { life } = state
  life.ending = ending
  life.wasInUse = isInUse(entry, now)
  entry.lease = null
  entry.token = null
  entry.state = { _tag: "Stopping", life, running: state._tag === "Running" ? state.running : null }
  Deferred.doneUnsafe(life.ended, Effect.void)
  return true
}
