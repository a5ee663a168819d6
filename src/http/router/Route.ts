/** What a project's row says about a request for it. Pure. */
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { RouteRow } from "../../services/db/Projects.ts"
import type { Answer } from "../Answer.ts"

export type Route =
  | { readonly _tag: "Missing" }
  | { readonly _tag: "Unavailable" }
  /** Dormant and at rest. */
  | { readonly _tag: "Asleep" }
  /** An operation runs: it has to be waited for, or given up for this request. Never cached. */
  | { readonly _tag: "Moving"; readonly state: string }
  | Replay

export interface Replay {
  readonly _tag: "Replay"
  readonly projectId: ProjectId
  readonly answer: Answer
  /** The flush of `Touches` for which the project was noted; flushes are counted from 1. */
  notedFor: number
}

const missing: Route = { _tag: "Missing" }
const unavailable: Route = { _tag: "Unavailable" }
const asleep: Route = { _tag: "Asleep" }

/**
 * 307 fails loudly where no proxy intercepts the header; without a Location no client follows it anywhere.
 * `content-length` is said because Node would otherwise frame the empty body in chunks.
 */
export const replayAnswer = (replayHeader: string): Answer => ({
  status: 307,
  headers: { "fly-replay": replayHeader, "content-length": "0" },
  body: ""
})

/** `row`: undefined where there is no such project. */
export const routeOf = (
  projectId: ProjectId,
  row: RouteRow | undefined,
  replayHeader: (machineId: string) => string
): Route => {
  if (row === undefined || row.state === "deleted" || row.operation === "deleting") return missing
  if (row.dataUnavailable) return unavailable
  if (row.operation !== "none") return { _tag: "Moving", state: row.state }
  if (row.state === "dormant") return asleep
  return row.machineId === null
    ? { _tag: "Moving", state: row.state }
    : { _tag: "Replay", projectId, answer: replayAnswer(replayHeader(row.machineId)), notedFor: 0 }
}
