/**
 * What an answer of the Machines API means to the plane: a table from status and text to `FlyError`'s reasons. The
 * texts are Fly's own, read as patterns, because status codes alone do not tell a full host from a name that is taken.
 */
import {
  Capacity,
  Conflict,
  NotFound,
  RateLimited,
  Rejected,
  Transient,
  UnknownOutcome,
  WaitTimeout,
  type FlyError
} from "./FlyError.ts"

export type Reason = FlyError["reason"]

/**
 * `read`: changes nothing. `repeatable`: the same again does no harm. `once`: may be sent again only if it certainly
 * did not happen. `wait`: the wait endpoint.
 */
export type Effects = "read" | "repeatable" | "once" | "wait"

export interface Answer {
  readonly status: number
  /** `error` or `message` of the body, or what else it says. */
  readonly text: string
  /** The body's `status` where it is one of Fly's codes (`insufficient_capacity`, …). */
  readonly code: string
  readonly retryAfterMs: number | null
  readonly effects: Effects
  /** A machine bound to its volume can't leave its host, so the host is what is full; a create may go elsewhere. */
  readonly bound: boolean
}

/** Fly documents one request a second; the limit is full again after this where it names no time. */
const RETRY_AFTER_DEFAULT_MS = 1_000

const ALREADY_EXISTS = /unique machine name violation, machine ID (\S+) already exists/i
const NO_CAPACITY =
  /could not reserve resource|insufficient (?:CPUs|memory|resources)|no capacity|could not find a candidate host/i
const ON_THIS_HOST = /on the current host/i
const STRANDED_VOLUME = /insufficient resources to create new machine with existing volume/i
const OVER_QUOTA = /over the allowed quota|has reached its machine limit/i
const IN_BETWEEN =
  /unable to start machine from current state|getting replaced, refusing|still active, refusing|min_secrets_version .*not yet available/i
/** The pinned version is being replaced: the wait is to be asked again. */
const BEING_REPLACED = /currently replac(?:ed|ing)/i

const ambiguous = (effects: Effects, detail: string): Reason =>
  effects === "read" || effects === "wait" ? new Transient({ detail }) : new UnknownOutcome({ detail })

type Row = readonly [when: (answer: Answer) => boolean, then: (answer: Answer, detail: string) => Reason]

const status =
  (...codes: ReadonlyArray<number>) =>
  (answer: Answer) =>
    codes.includes(answer.status)

/** The first row that fits decides. */
const table: ReadonlyArray<Row> = [
  [(a) => a.effects === "wait" && BEING_REPLACED.test(a.text), (_, detail) => new Transient({ detail })],
  [(a) => a.effects === "wait" && a.status === 408, (_, detail) => new WaitTimeout({ detail })],
  // A state that this machine will not reach.
  [
    (a) => a.effects === "wait" && a.status === 400 && !a.text.startsWith("invalid_argument"),
    (_, detail) => new Conflict({ detail, existingId: null })
  ],
  [
    status(429),
    (a, detail) => new RateLimited({ by: "fly", detail, retryAfterMs: a.retryAfterMs ?? RETRY_AFTER_DEFAULT_MS })
  ],
  [(a) => OVER_QUOTA.test(a.text), (_, detail) => new Capacity({ scope: "quota", detail })],
  [
    (a) => a.code === "volume_placement_capacity" || STRANDED_VOLUME.test(a.text),
    (_, detail) => new Capacity({ scope: "volume_placement", detail })
  ],
  [
    (a) => status(409, 412, 422)(a) && (a.code === "insufficient_capacity" || NO_CAPACITY.test(a.text)),
    (a, detail) => new Capacity({ scope: a.bound || ON_THIS_HOST.test(a.text) ? "host" : "region", detail })
  ],
  // A create that names a soft-deleted volume is refused with 400.
  [
    (a) => a.status === 404 || (a.status === 400 && /volume not found/i.test(a.text)),
    (_, d) => new NotFound({ detail: d })
  ],
  [status(408), (a, detail) => ambiguous(a.effects, detail)],
  [
    (a) => a.status === 409 || (a.status === 422 && (a.code === "name_taken" || /already been taken/i.test(a.text))),
    (a, detail) => new Conflict({ detail, existingId: ALREADY_EXISTS.exec(a.text)?.[1] ?? null })
  ],
  [(a) => a.status === 412 && IN_BETWEEN.test(a.text), (_, detail) => new Transient({ detail })],
  [status(412), (_, detail) => new Conflict({ detail, existingId: null })],
  // Fly refuses work with 503; the other 5xx may come from a proxy behind which it was done.
  [status(503), (_, detail) => new Transient({ detail })],
  [(a) => a.status >= 500, (a, detail) => ambiguous(a.effects, detail)]
]

export const reasonOf = (answer: Answer, detail: string): Reason => {
  const row = table.find(([when]) => when(answer))
  return row === undefined ? new Rejected({ status: answer.status, detail }) : row[1](answer, detail)
}

/** Codes of failures before a byte of the request was sent. */
const NOT_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "UND_ERR_CONNECT_TIMEOUT"
])

/** The connection failed with `code`. */
export const reasonOfTransport = (code: string, effects: Effects): Reason =>
  NOT_SENT.has(code) ? new Transient({ detail: code }) : ambiguous(effects, code)

/** No answer within the attempt's limit. */
export const reasonOfSilence = (effects: Effects, detail: string): Reason => ambiguous(effects, detail)
