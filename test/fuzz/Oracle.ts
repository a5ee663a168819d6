/** What is right about any answer, whatever was asked. */
import { fileURLToPath } from "node:url"
import { tmpdir } from "node:os"
import { type Answer, type Exchange, headerOf } from "./Wire.ts"
import { excerpt } from "./Violation.ts"

/** A header that no server of ours has: inputs try to bring one about. */
export const injected = "x-injected"

const root = fileURLToPath(new URL("../..", import.meta.url))
const insides = [/\n\s+at \S+ \(/, /\.[jt]s:\d+:\d+/, /node:internal/, /\/node_modules\//]
const paths = [root, tmpdir()]

export interface Rules {
  readonly secrets: ReadonlyArray<string>
  readonly statuses: ReadonlySet<number>
  /** Of each status from 500 on. */
  readonly codes: Readonly<Record<number, ReadonlyArray<string>>>
  /** What input may be echoed is no finding where it names a path itself. */
  readonly sent: string
}

/** Node's own, before there is a request, and those of an upgrade that can't be framed: a status line, no more. */
const parserStatuses = new Set([400, 408, 411, 413, 417, 431])

export const isParsers = ({ body, status }: Answer): boolean => parserStatuses.has(status) && body === ""

const record = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** What `ws` says of a handshake that is none. */
const ofHandshake = /^(?:Missing or i|I)nvalid [\w- ]+ (?:header|method)$/

const errorProblem = (answer: Answer, rules: Rules): string | undefined => {
  const { body, status } = answer
  const type = headerOf(answer, "content-type") ?? ""
  if (body === "") return status < 500 || rules.sent.startsWith("HEAD ") ? undefined : `${status} without a body`
  const isPage = type.startsWith("text/html") && rules.sent.includes("text/html")
  const problem = record(body)
  if (status >= 500) {
    if (status === 503 && headerOf(answer, "retry-after") === undefined) return "503 without Retry-After"
    const code = String(problem?.["code"])
    if (!isPage && rules.codes[status]?.includes(code) !== true) return `${status} ${code}`
  }
  if (isPage || (status < 500 && ofHandshake.test(body))) return undefined
  if (!type.startsWith("application/problem+json")) return `${status} as ${type}`
  if (typeof problem?.["code"] !== "string" || typeof problem["detail"] !== "string" || problem["status"] !== status) {
    return `${status} is no problem`
  }
  return undefined
}

const leak = (text: string, { secrets, sent }: Rules): string | undefined => {
  if (secrets.some((secret) => text.includes(secret))) return "a secret"
  if (insides.some((pattern) => pattern.test(text) && !pattern.test(sent))) return "an inside"
  return paths.some((path) => text.includes(path) && !sent.includes(path)) ? "a path of this machine" : undefined
}

/** Undefined: nothing is wrong. */
export const answerProblem = (exchange: Exchange, rules: Rules): string | undefined => {
  const { answer, text } = exchange
  const leaked = leak(text, rules)
  if (leaked !== undefined) return `${leaked} in ${excerpt(text)}`
  if (answer === undefined) return undefined
  const own = isParsers(answer)
  if (!own && !rules.statuses.has(answer.status)) return `status ${answer.status}: ${excerpt(text)}`
  if (answer.headers.some(([name]) => name.toLowerCase() === injected)) return `a header was injected: ${excerpt(text)}`
  if (answer.headers.some(([name]) => !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))) {
    return `a header that is none: ${excerpt(text)}`
  }
  const wrong = own || answer.status < 400 ? undefined : errorProblem(answer, rules)
  return wrong === undefined ? undefined : `${wrong}: ${excerpt(text)}`
}
