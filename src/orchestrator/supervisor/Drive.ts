/** The one fiber of a project: life after life, and the rests in between, until the project needs no server. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { healthyMs, rememberMs, shownMs } from "./Backoff.ts"
import * as Entry from "./Entry.ts"
import { live } from "./Life.ts"
import type { Ending, Next } from "./Next.ts"
import * as Succession from "./Next.ts"
import type { Supervision } from "./Supervision.ts"
import * as Unavailable from "./Unavailable.ts"
import * as Uptime from "./Uptime.ts"

/** A request waits for a server in back-off if it is to be started within this time. */
export const patienceMs = 5_000

const forget = ({ entries }: Supervision, entry: Entry.Entry): void => {
  entry.state = { _tag: "Gone" }
  if (entries.get(entry.project) === entry) entries.delete(entry.project)
}

/** Out of the map; whoever still waits is told why, and its fiber ends. */
export const remove = (supervision: Supervision, entry: Entry.Entry, error: Unavailable.Unavailable): void => {
  forget(supervision, entry)
  const tell = Entry.dismiss(entry)
  Entry.notify(entry)
  tell(error)
}

/** Of an entry that ends although somebody waits for it. */
export const farewell = ({ draining }: Supervision): Unavailable.Unavailable =>
  draining ? Unavailable.draining() : Unavailable.failed("the server was stopped", 0, [])

const tally = ({ totals }: Supervision, ending: Ending, crashed: boolean, wasRunning: boolean): void => {
  if (crashed) totals.crashes += 1
  else if (ending._tag === "Replaced") totals.replaced += 1
  else if (wasRunning && ending._tag !== "Exited") totals.stops += 1
}

/** What its waiters are told where they wait in vain; null where it is started for them. */
const refusal = (entry: Entry.Entry, ending: Ending, next: Next, now: number): Unavailable.Unavailable | null => {
  if (ending._tag === "Refused") return ending.error
  const waitMs = "retryAt" in next ? next.retryAt - now : 0
  const { lastError, lastOutput } = entry
  const tooLong = next._tag === "Failed" || (next._tag === "Backoff" && waitMs > patienceMs)
  if (ending._tag === "StartFailed" || tooLong) return Unavailable.failed(lastError ?? "", waitMs, lastOutput)
  return null
}

/** Its process is gone: the one place where it is decided what comes then. */
const settle = (supervision: Supervision, entry: Entry.Entry, life: Entry.Life, ending: Ending, now: number): Next => {
  const { crashes, capacity, spawnRate } = supervision
  const running = entry.state._tag === "Stopping" ? entry.state.running : null
  const { wasInUse } = life
  const awaited = entry.waiters.size > 0 && ending._tag !== "StartFailed"
  const crashed = Succession.isCrash({ ending, wasInUse, awaited })
  if (running !== null && now - running.readyAt >= healthyMs) crashes.forget(entry.project)
  const inARow = crashed ? crashes.add(entry.project, now) : 0
  tally(supervision, ending, crashed, running !== null)
  if (crashed || ending._tag === "Replaced") entry.lastError = Succession.describe(ending)
  if (ending._tag === "StartFailed") entry.lastOutput = ending.error.output

  const next: Next = supervision.draining
    ? { _tag: "Gone" }
    : Succession.next({ ending, wasInUse, awaited, crashes: inARow, now })
  if (entry.spawn !== null) spawnRate.giveBack(entry.spawn.client, entry.spawn.at)
  entry.spawn = null
  entry.served = 0
  const error = refusal(entry, ending, next, now) ?? (next._tag === "Gone" ? farewell(supervision) : null)
  const tell = error === null ? null : Entry.dismiss(entry)
  if (next._tag === "Gone") forget(supervision, entry)
  else if (next._tag === "Start") {
    if (next.restart) entry.restarts += 1
    Entry.start(entry, now)
  } else entry.state = next
  if (next._tag !== "Start" || !Succession.keepsPlace(ending, wasInUse)) capacity.release(entry.place)
  Deferred.doneUnsafe(life.gone, Effect.void)
  if (error !== null) tell?.(error)
  return next
}

/** Until it may be started again, or somebody else has decided what becomes of it. */
const rest = Effect.fnUntraced(function* (
  supervision: Supervision,
  entry: Entry.Entry,
  state: Extract<Entry.State, { readonly retryAt: number }>
) {
  const { changed } = entry
  const since = yield* Uptime.now
  if (entry.state !== state) return
  const { retryAt } = state
  const last = retryAt + (state._tag === "Backoff" ? shownMs : rememberMs)
  const until = state._tag === "Backoff" && since < retryAt ? retryAt : last
  yield* Effect.timeoutOption(Deferred.await(changed), Math.max(0, until - since))
  const now = yield* Uptime.now
  if (entry.state !== state) return
  if (state._tag === "Backoff" && (state.restart || entry.waiters.size > 0)) {
    entry.restarts += 1
    Entry.start(entry, now)
  } else if (until === last) remove(supervision, entry, farewell(supervision))
})

const once = Effect.fnUntraced(function* (supervision: Supervision, entry: Entry.Entry) {
  const { state } = entry
  if (state._tag === "Backoff" || state._tag === "Failed") return yield* rest(supervision, entry, state)
  if (state._tag === "Gone") return
  const { life } = state
  yield* live(supervision, entry, life)
  const ending = life.ending
  if (ending === null) return yield* Effect.die(`${entry.project}: its process ended without a reason`)
  const pid = entry.state._tag === "Stopping" ? (entry.state.running?.target.pid ?? null) : null
  const next = settle(supervision, entry, life, ending, yield* Uptime.now)
  yield* Effect.logInfo("server is gone").pipe(
    Effect.annotateLogs({ pid, reason: Succession.describe(ending), state: next._tag.toLowerCase() })
  )
})

/** Never fails: what goes wrong inside is logged, and the project can be asked for again. */
export const drive = (supervision: Supervision, entry: Entry.Entry): Effect.Effect<void> =>
  once(supervision, entry).pipe(
    Effect.repeat({ while: () => entry.state._tag !== "Gone" }),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("the supervision of a server failed", cause)
    ),
    Effect.ensuring(
      Effect.sync(() => {
        const { state } = entry
        supervision.capacity.release(entry.place)
        if (state._tag === "Gone") return
        remove(supervision, entry, Unavailable.failed("the server could not be supervised", 0, []))
        if ("life" in state) Deferred.doneUnsafe(state.life.gone, Effect.void)
      })
    ),
    Effect.annotateLogs({ project: entry.project })
  )
