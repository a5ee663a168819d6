/** An endpoint's refusal: a problem with a stable code, as the failure of its effect. */
import * as Schema from "effect/Schema"
import { type Answer, problem } from "../../http/Answer.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { NoPlan } from "../ProjectFolders.ts"
import type { Unavailable } from "../Supervisor.ts"

export class Refused extends Schema.TaggedError<Refused>()("Refused", {
  status: Schema.Int,
  code: Schema.String,
  detail: Schema.String,
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  output: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  override get message() {
    return this.detail
  }
  /** The same request may be answered another time. */
  get retryable() {
    return this.status === 429 || this.status === 503
  }
  get answer(): Answer {
    const { status, code, detail, headers, output } = this
    return problem({
      status,
      code,
      detail,
      ...(headers === undefined ? {} : { headers }),
      ...(output === undefined ? {} : { members: { output } })
    })
  }
}

export const notFound = new Refused({ status: 404, code: "not_found", detail: "There is nothing at this path." })

export const projectNotFound = new Refused({
  status: 404,
  code: "project_not_found",
  detail: "There is no such project."
})

export const notRunning = (id: ProjectId) =>
  new Refused({ status: 404, code: "not_running", detail: `${id} has no server that runs.` })

export const noPlan = (error: NoPlan): Refused =>
  error.reason === "forbidden"
    ? projectNotFound
    : new Refused({ status: 500, code: "invalid_project", detail: error.detail })

const unavailableStatus = { invalid: 500, rate_limited: 429, full: 503, failed: 503, draining: 503 } as const
const unavailableCode = {
  invalid: "invalid_project",
  rate_limited: "rate_limited",
  full: "no_capacity",
  failed: "start_failed",
  draining: "shutting_down"
} as const

/** With the server's last lines: only the operator gets to see this. */
export const unavailable = ({ reason, detail, retryAfterSeconds, output, retryable }: Unavailable): Refused =>
  reason === "forbidden"
    ? projectNotFound
    : new Refused({
        status: unavailableStatus[reason],
        code: unavailableCode[reason],
        detail,
        ...(retryable ? { headers: { "retry-after": String(retryAfterSeconds) } } : {}),
        output
      })
