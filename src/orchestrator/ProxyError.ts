/** Why a request did not reach its project's server, or got no answer from it that could be passed on. */
import * as Schema from "effect/Schema"
import type { Unavailable } from "./Supervisor.ts"

const reasons = {
  /** It can't be written down again, or says in two ways where it ends. */
  bad_request: 400,
  /** The client stopped in the middle of its upload. */
  request_timeout: 408,
  /** Nobody accepts on the server's port, though it was said to be ready. */
  unreachable: 502,
  /** The server closed without an answer, or answered what is not HTTP. */
  bad_answer: 502,
  connect_timeout: 504,
  response_timeout: 504
} as const

export type Reason = keyof typeof reasons

export class ProxyError extends Schema.TaggedError<ProxyError>()("ProxyError", {
  reason: Schema.Literals([
    "bad_request",
    "request_timeout",
    "unreachable",
    "bad_answer",
    "connect_timeout",
    "response_timeout"
  ]),
  detail: Schema.String
}) {
  override get message() {
    return `${this.reason}: ${this.detail}`
  }
  get status(): number {
    return reasons[this.reason]
  }
  get retryable(): boolean {
    return this.reason !== "bad_request"
  }
}

/** How a failure looks from outside. `code` never changes; `detail` is for people. */
export interface Refusal {
  readonly status: number
  readonly code: string
  /** Nothing that only the operator may know. */
  readonly detail: string
  readonly retryAfterSeconds: number | null
  /** For somebody on this machine. */
  readonly cause: string
  /** The server's last lines, likewise. */
  readonly output: ReadonlyArray<string>
}

/** A request that nobody takes. */
export const refusedAs = (status: 400 | 404, detail: string): Refusal => ({
  status,
  code: status === 400 ? "bad_request" : "not_found",
  detail,
  retryAfterSeconds: null,
  cause: detail,
  output: []
})

const texts: Readonly<Record<Reason, string>> = {
  bad_request: "The request can't be passed on to the project's server.",
  request_timeout: "The rest of the request did not come.",
  unreachable: "The project's server does not accept connections.",
  bad_answer: "The project's server gave no proper answer.",
  connect_timeout: "The project's server did not accept a connection in time.",
  response_timeout: "The project's server did not answer in time."
}

const unavailable = {
  forbidden: { status: 404, code: "project_not_found", text: "There is no such project." },
  invalid: { status: 500, code: "invalid_project", text: "The project can't be served as it is set up." },
  rate_limited: { status: 429, code: "rate_limited", text: "Too many servers were started for you. Try again later." },
  full: { status: 503, code: "no_capacity", text: "All servers are in use. Try again shortly." },
  failed: { status: 503, code: "start_failed", text: "The project's server does not start. It is tried again." },
  draining: { status: 503, code: "draining", text: "This host is about to stop. Try again shortly." }
} as const

export const refusal = (error: ProxyError | Unavailable): Refusal => {
  if (error._tag === "ProxyError") {
    const { detail, reason, status } = error
    return { status, code: reason, detail: texts[reason], retryAfterSeconds: null, cause: detail, output: [] }
  }
  const { code, status, text } = unavailable[error.reason]
  return {
    status,
    code,
    detail: text,
    retryAfterSeconds: error.retryable ? Math.max(1, error.retryAfterSeconds) : null,
    // Told apart for nobody.
    cause: error.reason === "forbidden" ? text : error.detail,
    output: error.output
  }
}
