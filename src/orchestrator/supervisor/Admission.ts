/** Uses of servers: counted at once where the server runs, else they wait for it. */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { patienceMs } from "./Drive.ts"
import * as Entry from "./Entry.ts"
import { marginMs } from "./Life.ts"
import type { Supervision } from "./Supervision.ts"
import * as Unavailable from "./Unavailable.ts"
import * as Uptime from "./Uptime.ts"
import type { Held, Target, Use } from "./Use.ts"

interface Expected {
  readonly entry: Entry.Entry
  /** Sets its start off. Only once the use has joined: a start may fail before this returns. */
  readonly begin?: () => void
}

/** The project's entry to wait at; or why there is none. */
const expect = (
  supervision: Supervision,
  launch: (entry: Entry.Entry) => void,
  { project, client }: Use,
  now: number
): Expected | Unavailable.Unavailable => {
  const { entries, spawnRate } = supervision
  if (supervision.draining) return Unavailable.draining()
  const entry = entries.get(project)
  if (entry === undefined) {
    const waitMs = spawnRate.take(client, now)
    if (waitMs > 0) return Unavailable.rateLimited(waitMs)
    const made = Entry.make(project, client, now)
    entries.set(project, made)
    return { entry: made, begin: () => launch(made) }
  }
  const { state, lastError, lastOutput } = entry
  if (state._tag !== "Backoff" && state._tag !== "Failed") return { entry }
  const waitMs = state.retryAt - now
  if (waitMs > (state._tag === "Backoff" ? patienceMs : 0)) {
    return Unavailable.failed(lastError ?? "it keeps ending", waitMs, lastOutput)
  }
  if (state._tag === "Backoff" && (waitMs > 0 || state.restart)) return { entry }
  const rateMs = spawnRate.take(client, now)
  if (rateMs > 0) return Unavailable.rateLimited(rateMs)
  entry.spawn = { client, at: now }
  return { entry, begin: () => Entry.start(entry, now) }
}

const leaveUnsafe = ({ capacity }: Supervision, ticket: Entry.Ticket, clock: Clock.Clock): void => {
  const now = Uptime.nowUnsafe(clock)
  if (Entry.release(ticket, now) !== null && capacity.waiting > 0) capacity.reclaim(now)
}

const leave = (supervision: Supervision, ticket: Entry.Ticket): Effect.Effect<void> =>
  Effect.clockWith((clock) => Effect.succeed(leaveUnsafe(supervision, ticket, clock)))

const ticketOf = ({ kind }: Use): Entry.Ticket => ({ kind, entry: null, counted: false })

/** `launch` forks the fiber of a new entry. */
export const makeUse = (supervision: Supervision, launch: (entry: Entry.Entry) => void, clock: Clock.Clock) => {
  const { config, entries, totals } = supervision
  // For its predecessor to stop, for the end of a back-off, for a place, for its start.
  const limitMs = config.stopGraceMs + patienceMs + config.spawnTimeoutMs * 2 + marginMs

  const counted = (kind: Use["kind"]) => {
    if (kind === "request") totals.requests += 1
  }

  const wait = (use: Use, ticket: Entry.Ticket, now: number): Effect.Effect<Target, Unavailable.Unavailable> => {
    const expected = expect(supervision, launch, use, now)
    if (expected instanceof Unavailable.Unavailable) return Effect.fail(expected)
    const arrival = Entry.join(expected.entry, ticket)
    expected.begin?.()
    return Deferred.await(arrival).pipe(
      Effect.timeoutOrElse({
        duration: limitMs,
        orElse: () => Effect.fail(Unavailable.failed(`there is no server after ${limitMs} ms`, 0, []))
      }),
      // Its scope may go on for long without it.
      Effect.onError(() => leave(supervision, ticket))
    )
  }

  /** Counted at this very moment, where the server runs. */
  const enterRunning = (use: Use, ticket: Entry.Ticket, now: number): Target | undefined => {
    const entry = entries.get(use.project)
    if (entry === undefined || entry.state._tag !== "Running") return undefined
    Entry.hold(entry, ticket, now)
    counted(use.kind)
    return entry.state.running.target
  }

  const enter = (use: Use, ticket: Entry.Ticket): Effect.Effect<Target, Unavailable.Unavailable> =>
    Effect.clockWith((clock) => {
      const now = Uptime.nowUnsafe(clock)
      const target = enterRunning(use, ticket, now)
      if (target !== undefined) return Effect.succeed(target)
      return wait(use, ticket, now).pipe(
        Effect.tap(() => Effect.sync(() => counted(use.kind))),
        Effect.tapError(() => Effect.sync(() => void (totals.refused += 1)))
      )
    })

  const tryUse = (use: Use): Held | undefined => {
    const ticket = ticketOf(use)
    const target = enterRunning(use, ticket, Uptime.nowUnsafe(clock))
    return target === undefined ? undefined : { target, release: () => leaveUnsafe(supervision, ticket, clock) }
  }

  const use = (use: Use): Effect.Effect<Target, Unavailable.Unavailable, Scope.Scope> =>
    Effect.flatMap(Effect.scope, (scope) => {
      const ticket = ticketOf(use)
      // The way out first: there is no moment in which a counted use could be interrupted without being uncounted.
      return Effect.andThen(Scope.addFinalizer(scope, leave(supervision, ticket)), enter(use, ticket))
    })

  return { use, tryUse }
}
