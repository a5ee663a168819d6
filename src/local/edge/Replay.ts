/**
 * The `fly-replay` instruction of an answer, in its two forms: the response header, and a JSON body of the type
 * `application/vnd.fly.replay+json`. The source of the grammar is Fly's page "Dynamic Request Routing".
 *
 * What does not parse is an error rather than half an instruction: Fly answers such a replay with PA03, and a router
 * that writes one should hear of it on a laptop. Replay caching is accepted and has no effect, as Fly's own may not.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

export type Fallback = "force_self" | "prefer_self"

export interface Transform {
  readonly path: string | undefined
  readonly deleteHeaders: ReadonlyArray<string>
  readonly setHeaders: ReadonlyArray<{ readonly name: string; readonly value: string }>
}

export interface Replay {
  readonly app: string | undefined
  readonly instance: string | undefined
  readonly preferInstance: string | undefined
  /** Read for its form only: everything local is in one region. */
  readonly region: string | undefined
  readonly state: string | undefined
  /** The issuer is no candidate. */
  readonly elsewhere: boolean
  readonly timeoutMs: number | undefined
  readonly fallback: Fallback | undefined
  readonly transform: Transform | undefined
}

/** Content type of the JSON form. */
export const replayContentType = "application/vnd.fly.replay+json"

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
// Tab, visible ASCII and obs-text: what a header may carry, so that no value can break out of the header it goes into.
// oxlint-disable-next-line no-control-regex -- header values must not hold control characters
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/
const label = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const region = /^[a-z]+(,[a-z]+)*$/
const requestTarget = /^\/[\x21-\x7e\x80-\xff]*$/
/** Set by the edge or by the framing of the message: a transform may not touch them. */
const untouchable = /^(fly-.*|connection|upgrade|keep-alive|te|transfer-encoding|content-length)$/i

const durationMs = (text: string): number | undefined => {
  const match = /^(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)$/.exec(text)
  if (match === null) return undefined
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? ""] ?? Number.NaN
  return Math.round(Number(match[1]) * unit)
}

/** `a=b;c="d,e"` → entries; undefined for anything else. */
const entries = (header: string): ReadonlyArray<readonly [string, string]> | undefined => {
  const found: Array<readonly [string, string]> = []
  const pair = /\s*([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^";,\s]+))\s*(?:;|$)/y
  while (pair.lastIndex < header.length) {
    const match = pair.exec(header)
    if (match === null) return undefined
    found.push([match[1] ?? "", match[2]?.replace(/\\(.)/g, "$1") ?? match[3] ?? ""])
  }
  return found.length === 0 ? undefined : found
}

interface Fields {
  readonly app?: string | undefined
  readonly instance?: string | undefined
  readonly prefer_instance?: string | undefined
  readonly region?: string | undefined
  readonly state?: string | undefined
  readonly elsewhere?: boolean | undefined
  readonly timeout?: string | undefined
  readonly fallback?: string | undefined
}

const check = (fields: Fields, transform: Transform | undefined): Result.Result<Replay, string> => {
  for (const key of ["app", "instance", "prefer_instance"] as const) {
    const value = fields[key]
    if (value !== undefined && !label.test(value)) return Result.fail(`${key} is not a name`)
  }
  if (fields.region !== undefined && !region.test(fields.region)) return Result.fail("region is not a list of codes")
  if (fields.state !== undefined && !headerValue.test(fields.state)) return Result.fail("state does not fit a header")
  const timeoutMs = fields.timeout === undefined ? undefined : durationMs(fields.timeout)
  if (fields.timeout !== undefined && timeoutMs === undefined) return Result.fail("timeout is not a duration")
  const { fallback } = fields
  if (fallback !== undefined && fallback !== "force_self" && fallback !== "prefer_self") {
    return Result.fail("fallback is neither force_self nor prefer_self")
  }
  return Result.succeed({
    app: fields.app,
    instance: fields.instance,
    preferInstance: fields.prefer_instance,
    region: fields.region,
    state: fields.state,
    elsewhere: fields.elsewhere ?? false,
    timeoutMs,
    fallback,
    transform
  })
}

const stringFields = ["app", "instance", "prefer_instance", "region", "state", "timeout", "fallback"] as const

/** The header's value, `key=value;key="a,b"`; the failure says what is wrong with it. */
export const parseHeader = (header: string): Result.Result<Replay, string> => {
  const pairs = entries(header)
  if (pairs === undefined) return Result.fail("not a list of key=value separated by semicolons")
  const fields: { -readonly [K in (typeof stringFields)[number]]?: string } & { elsewhere?: boolean } = {}
  const seen = new Set<string>()
  for (const [key, value] of pairs) {
    if (seen.has(key)) return Result.fail(`${key} is given twice`)
    seen.add(key)
    const known = stringFields.find((field) => field === key)
    if (known !== undefined) fields[known] = value
    else if (key === "elsewhere" && (value === "true" || value === "false")) fields.elsewhere = value === "true"
    else return Result.fail(`${key}=${value} is no field of fly-replay`)
  }
  return check(fields, undefined)
}

const JsonReplay = Schema.Struct({
  app: Schema.optionalKey(Schema.String),
  instance: Schema.optionalKey(Schema.String),
  prefer_instance: Schema.optionalKey(Schema.String),
  region: Schema.optionalKey(Schema.String),
  state: Schema.optionalKey(Schema.String),
  elsewhere: Schema.optionalKey(Schema.Boolean),
  timeout: Schema.optionalKey(Schema.String),
  fallback: Schema.optionalKey(Schema.String),
  allow_bypass: Schema.optionalKey(Schema.Boolean),
  cache: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  transform: Schema.optionalKey(
    Schema.Struct({
      path: Schema.optionalKey(Schema.String),
      delete_headers: Schema.optionalKey(Schema.Array(Schema.String)),
      set_headers: Schema.optionalKey(Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.String })))
    })
  )
})
const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(JsonReplay), { onExcessProperty: "error" })

/** The JSON form's body. */
export const parseJson = (body: string): Result.Result<Replay, string> => {
  const decoded = Result.mapError(decodeJson(body), (error) => String(error.message))
  if (Result.isFailure(decoded)) return Result.fail(decoded.failure)
  const json = decoded.success
  if (json.transform === undefined) return check(json, undefined)
  const deleteHeaders = (json.transform.delete_headers ?? []).map((name) => name.toLowerCase())
  const setHeaders = json.transform.set_headers ?? []
  const names = [...deleteHeaders, ...setHeaders.map(({ name }) => name)]
  const refused = names.find((name) => !token.test(name) || untouchable.test(name))
  if (refused !== undefined) return Result.fail(`transform may not change the header ${JSON.stringify(refused)}`)
  if (setHeaders.some(({ value }) => !headerValue.test(value)))
    return Result.fail("transform sets a header to no value")
  const { path } = json.transform
  if (path !== undefined && !requestTarget.test(path)) return Result.fail("transform.path is not a path")
  return check(json, { path, deleteHeaders, setHeaders })
}
