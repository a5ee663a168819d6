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
import { wakeFailure } from "./Failures.ts"
import type { Hint } from "./Heal.ts"
import { heal } from "./Heal.ts"
import * as Reasons from "./Lifecycle.ts"
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
  | { readonly _tag: "Backoff"; readonly retryAfterMs: number; readonly detail: string }
  | { readonly _tag: "Running" }
  | { readonly _tag: "Wake" }
  | { readonly _tag: "AbortArchive" }
  | { readonly _tag: "Rehost" }
  | { readonly _tag: "Wait" }

/** Pure: the table itself. `now` is this instance's clock; a lease is judged by the database when it is taken over. */
export const nextFor = (view: ProjectView | null, now: number, force: boolean): Next => {
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
  const wait = (project.nextAttemptAt ?? 0) - now
  const backoff = {
    _tag: "Backoff",
    retryAfterMs: wait,
    detail: project.lastError ?? "the last attempt failed"
  } as const
  if (project.state === "dormant") return wait > 0 && !force ? backoff : { _tag: "Wake" }
  if (machine?.machineId != null) return { _tag: "Running" }
  return wait > 0 && !force ? backoff : { _tag: "Rehost" }
}

export const ensureActive = Effect.fn("ensureActive")(function* (
  projectId: ProjectId,
  options: { readonly force: boolean; readonly hint: Hint | null }
) {
  const projects = yield* Projects
  const changes = yield* RowChanges
  const read = Effect.map(projects.find(projectId), Option.getOrNull)
  let view = yield* read
  let healed = options.hint === null
  for (;;) {
    const next = nextFor(view, yield* Clock.currentTimeMillis, options.force)
    switch (next._tag) {
      case "NotFound":
        return yield* refuse(new Reasons.NotFound({ detail: `no project ${projectId}` }))
      case "DataUnavailable":
        return yield* refuse(
          new Reasons.DataUnavailable({ detail: "machine and volume are gone: an operator has to recover the project" })
        )
      case "Backoff":
        return yield* refuse(
          new Reasons.Backoff({ retryAfterMs: Math.max(1, Math.ceil(next.retryAfterMs)), detail: next.detail })
        )
      case "Running": {
        if (view === null) break
        if (healed || options.hint === null) return running(view)
        healed = true
        const repaired = yield* heal(view, options.hint)
        if (repaired._tag === "Fine") return running(repaired.view)
        const rehosted = yield* rehost(view, { reason: repaired.reason })
        if (rehosted._tag === "Rehosted") {
          return { view: rehosted.view, woken: true, source: "cold", timings: rehosted.timings } satisfies WakeResult
        }
        break
      }
      case "Wake": {
        const region = view?.project.region ?? ""
        const woken = yield* wake(projectId, { region, force: options.force })
        if (woken._tag === "Woken") {
          return {
            view: woken.view,
            woken: true,
            source: woken.source,
            timings: woken.timings
          } satisfies WakeResult
        }
        view = woken.view
        if (nextFor(view, yield* Clock.currentTimeMillis, options.force)._tag !== "Wake") continue
        break
      }
      case "AbortArchive": {
        const aborted = yield* projects.abortArchive({
          projectId,
          by: { _tag: "Takeover" },
          idleSeconds: null,
          backoffMs: null,
          error: "a request came"
        })
        if (aborted === null) break
        yield* unseal(aborted)
        view = aborted
        continue
      }
      case "Rehost": {
        if (view === null) break
        const rehosted = yield* rehost(view, { reason: "its machine is missing", force: options.force })
        if (rehosted._tag === "Rehosted") {
          return { view: rehosted.view, woken: true, source: "cold", timings: rehosted.timings } satisfies WakeResult
        }
        break
      }
      case "Wait":
        break
    }
    yield* changes.next(projectId)
    view = yield* read
  }
}, Effect.mapError(wakeFailure))
