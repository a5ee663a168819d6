/**
 * The hourly dormancy sweep: projects idle beyond their threshold, by the day of their last activity, in pages, a few at a
 * time and each on its own. One that fails backs off in its row and never stops the rest.
 */
import * as Effect from "effect/Effect"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import { archive } from "../lifecycle/Archive.ts"
import { brief } from "../lifecycle/Steps.ts"

const pageSize = 100
/** Each holds a started machine and a transfer; Fly starts one machine a second for each machine, not for the app. */
const concurrency = 5

export interface SweepPass {
  readonly candidates: number
  readonly archived: number
  readonly busy: number
  readonly refused: number
  readonly failed: number
}

const one = (projectId: ProjectId) =>
  archive(projectId, { force: false }).pipe(
    Effect.map((outcome) => outcome._tag),
    Effect.catchCause((cause) =>
      Effect.as(Effect.logWarning("not archived", { projectId, error: brief(cause) }), "Failed" as const)
    )
  )

export const sweep = Effect.gen(function* () {
  const config = yield* PlaneConfig
  const projects = yield* Projects
  const counts = { Archived: 0, Busy: 0, Refused: 0, Failed: 0 }
  if (config.r2 === null) {
    yield* Effect.logInfo("sweep skipped: R2 is not configured, archival is off")
    return { candidates: 0, archived: 0, busy: 0, refused: 0, failed: 0 } satisfies SweepPass
  }
  let after: { readonly lastActiveAt: number; readonly projectId: ProjectId } | null = null
  // The cursor only moves forward, so a pass ends even while projects turn idle behind it.
  for (;;) {
    const page: ReadonlyArray<{ readonly projectId: ProjectId; readonly lastActiveAt: number }> =
      yield* projects.idleCandidates({ idleMs: config.dormancy.thresholdMs, limit: pageSize, after })
    const outcomes = yield* Effect.forEach(page, (candidate) => one(candidate.projectId), { concurrency })
    for (const outcome of outcomes) counts[outcome] += 1
    after = page.at(-1) ?? null
    if (page.length < pageSize) break
  }
  const pass: SweepPass = {
    candidates: counts.Archived + counts.Busy + counts.Refused + counts.Failed,
    archived: counts.Archived,
    busy: counts.Busy,
    refused: counts.Refused,
    failed: counts.Failed
  }
  if (pass.candidates > 0) yield* Effect.logInfo("sweep done", pass)
  return pass
}).pipe(Effect.withSpan("sweep"))
