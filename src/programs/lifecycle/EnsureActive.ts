/**
 * From whatever a project is to an active one with a machine: the decision table of wake and heal. Runs once per
 * project and instance at a time, however many requests wait; another instance's operation is waited for, or taken
 * over once its lease has expired or, for an archive, before its upload has begun.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { ProjectView } from "../../services/db/Projects.ts"
import { Projects } from "../../services/db/Projects.ts"
import { unavailable, wakeFailure } from "./Failures.ts"
import type { Hint } from "./Heal.ts"
import { heal } from "./Heal.ts"
import { LeaseLost } from "./Lease.ts"
import * as Reasons from "./Lifecycle.ts"
import { leaseMs, longestBackoffMs } from "./limits.ts"
import type { WakeResult } from "./Lifecycle.ts"
import { rehost } from "./Rehost.ts"
import { RowChanges } from "./RowChanges.ts"
import { unseal } from "./Unseal.ts"
import { wake } from "./Wake.ts"

const refuse = (reason: Reasons.WakeError["reason"]) => Effect.fail(new Reasons.WakeError({ reason }))

const running = (view: ProjectView): WakeResult => ({ view, woken: false, source: "running", timings: {} })

/** What is to be done with a row as it stands. */
export type Next =
  | { readonly _tag: "NotFound" }
  | { readonly _tag: "DataUnavailable" }
  | { readonly _tag: "Running" }
  | { readonly _tag: "Wake" }
  | { readonly _tag: "AbortArchive" }
  | { readonly _tag: "Rehost" }
  | { readonly _tag: "Wait" }

/** Pure: the table itself. `now` is this instance's clock: whether a lease or a backoff is over the database decides. */
export const nextFor = (view: ProjectView | null, now: number): Next => {
  if (view === null || view.project.state === "deleted") return { _tag: "NotFound" }
  const { project, machine } = view
  const expired = project.leaseUntil !== null && project.leaseUntil <= now
  if (project.operation === "deleting") return { _tag: "NotFound" }
  if (project.operation === "creating" || project.operation === "waking") {
    return expired ? { _tag: "Wake" } : { _tag: "Wait" }
  }
  if (project.operation === "archiving") {
    return expired || !project.uploading ? { _tag: "AbortArchive" } : { _tag: "Wait" }
  }
  if (project.operation === "rehosting") return expired ? { _tag: "Rehost" } : { _tag: "Wait" }
  if (project.dataUnavailable) return { _tag: "DataUnavailable" }
  if (project.state === "dormant") return { _tag: "Wake" }
  return { _tag: machine?.machineId == null ? "Rehost" : "Running" }
}

/** Why the database refused to begin what the table says: the last attempts failed. Null: for another reason. */
const backoffOf = (view: ProjectView | null, now: number): Reasons.Backoff | null => {
  const project = view?.project
  if (project === undefined || project.operation !== "none" || project.nextAttemptAt === null) return null
  return new Reasons.Backoff({
    retryAfterMs: Math.min(Math.max(1, Math.ceil(project.nextAttemptAt - now)), longestBackoffMs),
    detail: project.lastError ?? "the last attempt failed"
  })
}

/** Its operation was taken over, or committed without an answer: the row tells what came of it. */
const fromTheRow = <A, E, R>(operation: Effect.Effect<A, E | LeaseLost, R>) =>
  Effect.catchIf(
    operation,
    (error) => error instanceof LeaseLost,
    () => Effect.succeed(null)
  )

export const ensureActive = Effect.fn("ensureActive")(function* (
  projectId: ProjectId,
  options: { readonly force: boolean; readonly hint: Hint | null }
) {
  const projects = yield* Projects
  const changes = yield* RowChanges
  const read = Effect.map(projects.find(projectId), Option.getOrNull)
  let view = yield* read
  let healed = options.hint === null
  /** The generation of the row at which its machine refused it as too old. */
  let refusedAt = 0
  let lease = { until: 0, since: 0 }
  /** A lease that was not renewed for its whole length has expired, whatever this instance's clock says. */
  const moment = Effect.map(Clock.currentTimeMillis, (now) => {
    const until = view?.project.leaseUntil ?? 0
    if (until !== lease.until) lease = { until, since: now }
    return now - lease.since > leaseMs ? Math.max(now, until) : now
  })
  for (;;) {
    const next = nextFor(view, yield* moment)
    switch (next._tag) {
      case "NotFound":
        return yield* refuse(new Reasons.NotFound({ detail: `no project ${projectId}` }))
      case "DataUnavailable":
        return yield* refuse(
          new Reasons.DataUnavailable({ detail: "machine and volume are gone: an operator has to recover the project" })
        )
      case "Running": {
        if (view === null) break
        if (healed || options.hint === null) return running(view)
        healed = true
        const repaired = yield* heal(view, options.hint).pipe(
          Effect.catchReason("MachineError", "Stale", () => Effect.succeed(null))
        )
        if (repaired === null) {
          if (view.project.generation === refusedAt) {
            return yield* refuse(unavailable("its machine has seen a newer generation than its row has"))
          }
          refusedAt = view.project.generation
          healed = false
          break
        }
        if (repaired._tag === "Fine") return running(repaired.view)
        // The look took its time: what another instance has made meanwhile is not replaced.
        const looked = view.project.generation
        view = yield* read
        if (view?.project.generation !== looked) continue
        const rehosted = yield* fromTheRow(rehost(view, { reason: repaired.reason }))
        if (rehosted?._tag === "Rehosted") {
          return { view: rehosted.view, woken: true, source: "cold", timings: rehosted.timings } satisfies WakeResult
        }
        break
      }
      case "Wake": {
        const region = view?.project.region ?? ""
        const woken = yield* fromTheRow(wake(projectId, { region, force: options.force }))
        if (woken === null) break
        if (woken._tag === "Woken") {
          return {
            view: woken.view,
            woken: true,
            source: woken.source,
            timings: woken.timings
          } satisfies WakeResult
        }
        view = woken.view
        const now = yield* moment
        if (nextFor(view, now)._tag !== "Wake") continue
        const backoff = backoffOf(view, now)
        if (backoff !== null) return yield* refuse(backoff)
        break
      }
      case "AbortArchive": {
        const aborted = yield* projects.abortArchive({
          projectId,
          by: { _tag: "Takeover" },
          idleSeconds: null,
          backoffMs: null,
          error: null
        })
        if (aborted === null) break
        yield* unseal(aborted)
        view = aborted
        continue
      }
      case "Rehost": {
        if (view === null) break
        const rehosted = yield* fromTheRow(rehost(view, { reason: "its machine is missing", force: options.force }))
        if (rehosted === null) break
        if (rehosted._tag === "Rehosted") {
          return { view: rehosted.view, woken: true, source: "cold", timings: rehosted.timings } satisfies WakeResult
        }
        view = rehosted.view
        const backoff = backoffOf(view, yield* moment)
        if (backoff !== null && !options.force) return yield* refuse(backoff)
        break
      }
      case "Wait":
        break
    }
    yield* changes.next(projectId)
    view = yield* read
  }
}, Effect.mapError(wakeFailure))
