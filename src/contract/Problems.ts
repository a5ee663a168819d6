/**
 * Errors of the HTTP API as `application/problem+json` (RFC 9457): `{type, title, status, detail, code}`. Programs
 * branch on `code`, which never changes; `detail` is for people.
 */
import * as Schema from "effect/Schema"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"

export const problemType = <const Code extends string>(code: Code) => `urn:valet:problem:${code}` as const

/** Whole seconds to wait, in the body as in the Retry-After header. */
const retryAfter = { retry_after_seconds: Schema.Int }

/** The header is the body's `retry_after_seconds` again. */
const headers = { "retry-after": Schema.FiniteFromString }

export class InvalidRequest extends HttpApiError.Problem<InvalidRequest>()(
  "InvalidRequest",
  { type: problemType("invalid_request"), status: 400, title: "Bad Request" },
  {
    code: Schema.tag("invalid_request"),
    /** Which fields, and what is wrong with them. */
    errors: Schema.optionalKey(Schema.Array(HttpApiError.ProblemIssue))
  }
) {}

export class ReservedProjectId extends HttpApiError.Problem<ReservedProjectId>()(
  "ReservedProjectId",
  { type: problemType("reserved_project_id"), status: 400, title: "Bad Request" },
  { code: Schema.tag("reserved_project_id") }
) {}

export class BadRegion extends HttpApiError.Problem<BadRegion>()(
  "BadRegion",
  { type: problemType("bad_region"), status: 400, title: "Bad Request" },
  { code: Schema.tag("bad_region") }
) {}

export class InvalidCursor extends HttpApiError.Problem<InvalidCursor>()(
  "InvalidCursor",
  { type: problemType("invalid_cursor"), status: 400, title: "Bad Request" },
  { code: Schema.tag("invalid_cursor") }
) {}

export class Unauthorized extends HttpApiError.Problem<Unauthorized>()(
  "Unauthorized",
  { type: problemType("unauthorized"), status: 401, title: "Unauthorized" },
  { code: Schema.tag("unauthorized") }
) {}

export class ProjectNotFound extends HttpApiError.Problem<ProjectNotFound>()(
  "ProjectNotFound",
  { type: problemType("project_not_found"), status: 404, title: "Not Found" },
  { code: Schema.tag("project_not_found") }
) {}

export class ProjectExists extends HttpApiError.Problem<ProjectExists>()(
  "ProjectExists",
  { type: problemType("project_exists"), status: 409, title: "Conflict" },
  { code: Schema.tag("project_exists") }
) {}

export class NotUnavailable extends HttpApiError.Problem<NotUnavailable>()(
  "NotUnavailable",
  { type: problemType("not_unavailable"), status: 409, title: "Conflict" },
  { code: Schema.tag("not_unavailable") }
) {}

export class Busy extends HttpApiError.Problem<Busy>()(
  "Busy",
  { type: problemType("busy"), status: 409, title: "Conflict" },
  { code: Schema.tag("busy"), ...retryAfter }
) {}
export const BusyWithHeader = Busy.pipe(
  HttpApiSchema.encodeToWithHeaders(
    { body: Busy, headers },
    {
      decode: ({ body }) => body,
      encode: (error) => ({ body: error, headers: { "retry-after": error.retry_after_seconds } })
    }
  )
)

export class PayloadTooLarge extends HttpApiError.Problem<PayloadTooLarge>()(
  "PayloadTooLarge",
  { type: problemType("payload_too_large"), status: 413, title: "Content Too Large" },
  { code: Schema.tag("payload_too_large") }
) {}

export class RateLimited extends HttpApiError.Problem<RateLimited>()(
  "RateLimited",
  { type: problemType("rate_limited"), status: 429, title: "Too Many Requests" },
  { code: Schema.tag("rate_limited"), ...retryAfter }
) {}
export const RateLimitedWithHeader = RateLimited.pipe(
  HttpApiSchema.encodeToWithHeaders(
    { body: RateLimited, headers },
    {
      decode: ({ body }) => body,
      encode: (error) => ({ body: error, headers: { "retry-after": error.retry_after_seconds } })
    }
  )
)

export class InternalError extends HttpApiError.Problem<InternalError>()(
  "InternalError",
  { type: problemType("internal_error"), status: 500, title: "Internal Server Error" },
  {
    code: Schema.tag("internal_error"),
    /** Stands beside the cause in the log. */
    error_id: Schema.String
  }
) {}

export const unavailableCodes = [
  "unavailable",
  "no_capacity",
  "wake_failed",
  "waking",
  "data_unavailable",
  "overloaded"
] as const

export class Unavailable extends HttpApiError.Problem<Unavailable>()(
  "Unavailable",
  { type: problemType("unavailable"), status: 503, title: "Service Unavailable" },
  { code: Schema.Literals(unavailableCodes), ...retryAfter }
) {}
export const UnavailableWithHeader = Unavailable.pipe(
  HttpApiSchema.encodeToWithHeaders(
    { body: Unavailable, headers },
    {
      decode: ({ body }) => body,
      encode: (error) => ({ body: error, headers: { "retry-after": error.retry_after_seconds } })
    }
  )
)
