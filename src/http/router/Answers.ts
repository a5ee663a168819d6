/** The router's own answers. Every 503 says when to come back; every answer may be read by a page of another origin. */
import type { WakeError } from "../../programs/lifecycle/Lifecycle.ts"
import { type Answer, json, problem, withHeaders } from "../Answer.ts"
import { corsHeaders } from "../Cors.ts"
import { header, isNavigation, isUpgrade, type RouterRequest } from "./RouterRequest.ts"
import { waitingPage } from "./WaitingPage.ts"

/** Seconds, rounded up: a client that comes back after exactly this long is not too early. */
export const retryAfterSeconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1000))

/** For crawlers and probes, which wake nothing: there is no use in asking soon. */
const passiveRetrySeconds = 3_600
/** Only an operator ends this state. */
const dataUnavailableRetrySeconds = 300

const own = (request: RouterRequest, answer: Answer): Answer =>
  withHeaders(answer, corsHeaders(header(request, "origin")))

/** What came behind an upgrade request may be no request: after its answer the connection is not read on. */
export const closing = (request: RouterRequest, answer: Answer): Answer =>
  isUpgrade(request) ? withHeaders(answer, { connection: "close" }) : answer

/** Alive: it says nothing about the database or anything else. */
export const health = (request: RouterRequest): Answer => own(request, json({ status: "ok" }))

export const notFound = (request: RouterRequest): Answer =>
  own(request, problem({ status: 404, code: "project_not_found", detail: "There is no such project." }))

export const refused = (request: RouterRequest, status: 400 | 404, detail: string): Answer =>
  own(request, problem({ status, code: status === 400 ? "bad_request" : "not_found", detail }))

export const noSuchFile = (request: RouterRequest): Answer =>
  own(request, problem({ status: 404, code: "not_found", detail: "The project is dormant and not woken for this." }))

export const state = (request: RouterRequest, projectState: string): Answer =>
  own(request, { status: 204, headers: { "x-valet-state": projectState, "cache-control": "no-store" }, body: "" })

export const unavailable = (
  request: RouterRequest,
  input: {
    readonly code: string
    readonly detail: string
    readonly retryAfterSeconds: number
    readonly state?: string
  }
): Answer =>
  own(
    request,
    withHeaders(
      isNavigation(request)
        ? waitingPage({
            title: input.code === "waking" ? "Waking up" : "Not available right now",
            detail: input.detail,
            retryAfterSeconds: input.retryAfterSeconds
          })
        : problem({
            status: 503,
            code: input.code,
            detail: input.detail,
            headers: { "retry-after": String(input.retryAfterSeconds) }
          }),
      input.state === undefined ? {} : { "x-valet-state": input.state }
    )
  )

export const dormant = (request: RouterRequest, projectState: string): Answer =>
  own(
    request,
    problem({
      status: 503,
      code: "dormant",
      detail: "The project is dormant, and this user agent does not wake projects.",
      headers: { "retry-after": String(passiveRetrySeconds), "x-valet-state": projectState }
    })
  )

export const dataUnavailable = (request: RouterRequest): Answer =>
  unavailable(request, {
    code: "data_unavailable",
    detail: "The project's newest data can't be reached. An operator has to decide what is served next.",
    retryAfterSeconds: dataUnavailableRetrySeconds
  })

export const overloaded = (request: RouterRequest): Answer =>
  unavailable(request, {
    code: "overloaded",
    detail: "Too many requests are waiting at this router.",
    retryAfterSeconds: 1
  })

export const waking = (request: RouterRequest): Answer =>
  unavailable(request, {
    code: "waking",
    detail: "The project is starting. This takes a moment.",
    retryAfterSeconds: 1
  })

export const storeDown = (request: RouterRequest): Answer =>
  unavailable(request, {
    code: "unavailable",
    detail: "The project could not be looked up. Try again shortly.",
    retryAfterSeconds: 2
  })

export const wakeFailed = (request: RouterRequest, error: WakeError): Answer => {
  const reason = error.reason
  switch (reason._tag) {
    case "NotFound":
      return notFound(request)
    case "DataUnavailable":
      return dataUnavailable(request)
    case "Deadline":
      return waking(request)
    case "Capacity":
      return unavailable(request, {
        code: "no_capacity",
        detail: "There is no room for the project's server right now.",
        retryAfterSeconds: retryAfterSeconds(reason.retryAfterMs)
      })
    case "Backoff":
      return unavailable(request, {
        code: "wake_failed",
        detail: "The project could not be started. It is tried again.",
        retryAfterSeconds: retryAfterSeconds(reason.retryAfterMs)
      })
    case "Unavailable":
      return unavailable(request, {
        code: "unavailable",
        detail: "The project could not be started right now.",
        retryAfterSeconds: retryAfterSeconds(reason.retryAfterMs)
      })
  }
}
