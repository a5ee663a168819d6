/** What the edge answers by itself, named by the codes of Fly's proxy (Fly's page "Error codes and troubleshooting"). */
import * as Schema from "effect/Schema"

/** The HTTP status of each; Fly documents the codes only. */
const statuses = {
  /** Request too large to be replayed. */
  PA01: 413,
  /** More than ten replays. */
  PA02: 502,
  /** Malformed replay, or one that is not allowed. */
  PA03: 502,
  /** The replay's app does not exist. */
  PA04: 502,
  /** The target refused the connection. */
  PC01: 502,
  /** The Machines API refused: somebody holds the machine's lease. */
  PM01: 503,
  /** The machine did not start in time. */
  PM03: 503,
  /** The machine could not be started. */
  PM07: 503,
  /** The machine is in a state from which it can't be started, or may not start by itself. */
  PM08: 503,
  /** No machine takes requests. */
  PR01: 502,
  /** No machine of that id in the app. */
  PR02: 502,
  /** No candidate after retries. */
  PR03: 503,
  /** The request was sent, the answer never came or makes no sense. */
  PU02: 502,
  /** The request can't be written down again. */
  PU04: 400
} as const

export type Code = keyof typeof statuses

const codes: ReadonlyArray<Code> = [
  "PA01",
  "PA02",
  "PA03",
  "PA04",
  "PC01",
  "PM01",
  "PM03",
  "PM07",
  "PM08",
  "PR01",
  "PR02",
  "PR03",
  "PU02",
  "PU04"
]

export class EdgeError extends Schema.TaggedError<EdgeError>()("EdgeError", {
  code: Schema.Literals(codes),
  detail: Schema.String
}) {
  override get message() {
    return `[${this.code}] ${this.detail}`
  }
  get status(): number {
    return statuses[this.code]
  }
}
