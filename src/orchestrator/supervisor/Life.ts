/** One process of a project, from the decision to start it until it is gone. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { StartFailed } from "../Starter.ts"
import * as Entry from "./Entry.ts"
import * as Health from "./Health.ts"
import * as KeepAwakeToken from "./KeepAwakeToken.ts"
import { describe } from "./Next.ts"
import type { Ending } from "./Next.ts"
import { outputOf } from "./Output.ts"
import type { Supervision } from "./Supervision.ts"
import * as Unavailable from "./Unavailable.ts"
import * as Uptime from "./Uptime.ts"

/** What a start and a stop may take beyond their own limits. */
export const marginMs = 10_000

const begin = Effect.fnUntraced(function* (
  { config, folders, starter, capacity, keepAwakeUrl, random, totals }: Supervision,
  entry: Entry.Entry,
  life: Entry.Life
): Effect.fn.Return<void, StartFailed | Unavailable.Unavailable, Scope.Scope> {
  const plan = yield* Effect.mapError(folders.plan(entry.project), ({ reason, detail }) =>
    Unavailable.noPlan(reason, detail)
  )
  if (!(yield* capacity.acquire(entry.place))) return yield* Unavailable.full()
  entry.spawn = null
  const token = yield* KeepAwakeToken.make(random)
  // It may be busy before it is ready.
  entry.token = KeepAwakeToken.digest(token)
  const start = Effect.flatMap(keepAwakeUrl.url, (url) =>
    starter.start(plan, { VALET_KEEP_AWAKE_URL: url, VALET_KEEP_AWAKE_TOKEN: token })
  )
  const limitMs = config.spawnTimeoutMs + config.stopGraceMs + marginMs
  const started = yield* start.pipe(
    Effect.timeoutOrElse({
      duration: limitMs,
      orElse: () =>
        Effect.fail(new StartFailed({ reason: "timeout", detail: `not started within ${limitMs} ms`, output: [] }))
    }),
    Effect.tapError(() => Effect.sync(() => void (totals.spawns += 1)))
  )
  if (started.warm) totals.warmClaims += 1
  else totals.spawns += 1
  const readyAt = yield* Uptime.now
  // Its end was decided while it became ready: it is never seen running.
  if (life.ending !== null) return
  if (started.keepAwakeToken !== undefined) entry.token = KeepAwakeToken.digest(started.keepAwakeToken)
  const { pid, port } = started.process
  const health = Health.initial(started.hasHealthPath)
  Entry.run(entry, life, { started, target: { pid, port }, readyAt, plan, health })
  yield* Effect.logInfo("server is ready").pipe(
    Effect.annotateLogs({ pid, port, state: "running", cold_start_ms: readyAt - life.since, warm: started.warm })
  )
})

/** Returns when nobody has used it for its idle time. Looks again at least once in that time, so it is never late. */
const idle = Effect.fnUntraced(function* ({ capacity }: Supervision, entry: Entry.Entry, running: Entry.Running) {
  while (true) {
    const { changed } = entry
    const now = yield* Uptime.now
    const { idleTimeoutMs } = running.plan
    const due = Entry.stopsAt(entry, running, now)
    // Seen and decided in one step: a use that came before is seen, one that comes later finds it stopping.
    if (due !== null && due <= now && Entry.end(entry, { _tag: "Idle" }, now)) return
    capacity.reclaim(now)
    const looks = [
      ...(idleTimeoutMs === 0 ? [] : [due ?? now + idleTimeoutMs]),
      ...(entry.lease !== null && entry.lease.until > now ? [entry.lease.until] : [])
    ]
    const woken = Deferred.await(changed)
    // Never so short a time that it would be lost in rounding.
    yield* looks.length === 0 ? woken : Effect.timeoutOption(woken, Math.max(1, Math.min(...looks) - now))
  }
})

/** Returns once its process is gone, or none was started; why it ended is in the life. */
export const live = (supervision: Supervision, entry: Entry.Entry, life: Entry.Life): Effect.Effect<void> => {
  const { config, host } = supervision
  const ended = Deferred.await(life.ended)
  const end = (ending: Ending) => Effect.map(Uptime.now, (now) => void Entry.end(entry, ending, now))

  const starting = begin(supervision, entry, life).pipe(
    Effect.catchTags({
      StartFailed: (error) => end({ _tag: "StartFailed", error }),
      Unavailable: (error) => end({ _tag: "Refused", error })
    })
  )
  const running = (it: Entry.Running) =>
    Effect.gen(function* () {
      const { process } = it.started
      yield* Effect.raceAllFirst([
        ended,
        Effect.flatMap(process.exited, (exit) => end({ _tag: "Exited", exit })),
        idle(supervision, entry, it),
        Effect.flatMap(Health.watch(host, it, config.healthCheckIntervalMs), (detail) =>
          end({ _tag: "Replaced", detail })
        ),
        ...(config.maxLifetimeMs === null ? [] : [Effect.delay(end({ _tag: "LifetimeOver" }), config.maxLifetimeMs)])
      ])
      const reason = life.ending === null ? "" : describe(life.ending)
      yield* Effect.logInfo("server ends").pipe(Effect.annotateLogs({ pid: process.pid, state: "stopping", reason }))
      entry.lastOutput = yield* outputOf(process)
      // Also of one that has ended: those of its group that it left are told, and have a grace of their own.
      yield* process.stop(config.stopGraceMs)
    })

  return Effect.scoped(
    Effect.gen(function* () {
      yield* Effect.raceAllFirst([ended, starting])
      const { state } = entry
      if (state._tag === "Running" || (state._tag === "Stopping" && state.running !== null)) {
        if (state.running !== null) yield* running(state.running)
      }
    })
  )
}
