/** What operators, servers and the orchestrator's own end ask of a project's server. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { farewell, remove } from "./Drive.ts"
import * as Entry from "./Entry.ts"
import * as KeepAwakeToken from "./KeepAwakeToken.ts"
import { marginMs } from "./Life.ts"
import type { Supervision } from "./Supervision.ts"
import * as Uptime from "./Uptime.ts"

export const makeCommands = (supervision: Supervision) => {
  const { config, folders, entries, crashes } = supervision

  /** A process that the system does not end (a disk that hangs) is waited for no longer than this. */
  const gone = (entry: Entry.Entry, life: Entry.Life) => {
    const limitMs = config.stopGraceMs + marginMs
    return Effect.timeoutOrElse(Deferred.await(life.gone), {
      duration: limitMs,
      orElse: () =>
        Effect.logError("server is not gone").pipe(Effect.annotateLogs({ project: entry.project, waited_ms: limitMs }))
    })
  }

  const stop = Effect.fnUntraced(function* (project: ProjectId) {
    const now = yield* Uptime.now
    crashes.forget(project)
    const entry = entries.get(project)
    if (entry === undefined) return false
    const { state } = entry
    if (!("life" in state)) {
      remove(supervision, entry, farewell(supervision))
      return false
    }
    // Who waited for this start is refused; who comes while it stops gets the next one.
    const tell = state._tag === "Starting" ? Entry.dismiss(entry) : null
    if (!Entry.end(entry, { _tag: "Stopped" }, now)) state.life.ending = { _tag: "Stopped" }
    tell?.(farewell(supervision))
    yield* gone(entry, state.life)
    return true
  })

  const restart = Effect.fnUntraced(function* (project: ProjectId) {
    const now = yield* Uptime.now
    crashes.forget(project)
    const entry = entries.get(project)
    if (entry === undefined || supervision.draining) return false
    const { state } = entry
    if (state._tag === "Backoff" || state._tag === "Failed") Entry.start(entry, now)
    if (state._tag === "Running") Entry.end(entry, { _tag: "Restarted" }, now)
    if (state._tag === "Stopping") state.life.ending = { _tag: "Restarted" }
    if (state._tag === "Running" || state._tag === "Stopping") yield* gone(entry, state.life)
    return true
  })

  const reload = Effect.fnUntraced(function* (project: ProjectId) {
    const running = runningOf(entries.get(project))
    if (running === null) return
    const plan = yield* Effect.catch(folders.plan(project), (error) =>
      Effect.as(
        Effect.logWarning("plan is kept as it was", error.detail).pipe(Effect.annotateLogs({ project })),
        running.plan
      )
    )
    if (plan.healthPath !== running.plan.healthPath) running.health = { ...running.health, hasPath: null }
    running.plan = plan
    const entry = entries.get(project)
    if (entry !== undefined) Entry.notify(entry)
  })

  const ping = (project: ProjectId) =>
    Effect.map(Uptime.now, (now) => {
      const entry = entries.get(project)
      if (entry === undefined || entry.state._tag !== "Running") return false
      entry.lastActivityAt = now
      return true
    })

  /** False where no live process has this token. */
  const keepAwake = (token: string, seconds: number, reason: string) =>
    Effect.map(Uptime.now, (now) => {
      const entry = KeepAwakeToken.holderOf(entries.values(), token)
      if (entry === null) return false
      if (Entry.isLeased(entry, now)) entry.lastActivityAt = now
      entry.lease = seconds <= 0 ? null : { until: now + seconds * 1_000, reason }
      Entry.notify(entry)
      return true
    })

  const drain = Effect.gen(function* () {
    const now = yield* Uptime.now
    supervision.draining = true
    const living = [...entries.values()].flatMap((entry) => {
      const { state } = entry
      if ("life" in state) {
        const tell = Entry.dismiss(entry)
        Entry.end(entry, { _tag: "Drained" }, now)
        tell(farewell(supervision))
        return [gone(entry, state.life)]
      }
      remove(supervision, entry, farewell(supervision))
      return []
    })
    yield* Effect.all(living, { concurrency: "unbounded", discard: true })
  })

  return { stop, restart, reload, ping, keepAwake, drain }
}

const runningOf = (entry: Entry.Entry | undefined): Entry.Running | null =>
  entry !== undefined && entry.state._tag === "Running" ? entry.state.running : null
