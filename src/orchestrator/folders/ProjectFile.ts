/** `valet.json`: what a project says of its own server. Every field may be left out. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { parseDuration } from "../../domain/Duration.ts"

export const fileName = "valet.json"
export const limitBytes = 64 * 1024

/** A year: more is a slip of the pen. */
const longestIdleMs = 365 * 86_400_000

/** A number is seconds. */
export const idleMs = (value: number | string): number | undefined =>
  typeof value === "number" ? value * 1000 : parseDuration(value, "s")

const noNul = Schema.makeFilter((text: string) => (text.includes("\0") ? "must not hold a NUL character" : undefined))

const Command = Schema.Array(Schema.String.check(noNul)).check(
  Schema.makeFilter((words) => (words[0] === undefined || words[0] === "" ? "must name a program" : undefined))
)

/** What the orchestrator sets itself. */
const ours = new Set(
  (
    "PORT PROJECT_ID DATA_DIR DATABASE_PATH " +
    "VALET_KEEP_AWAKE_URL VALET_KEEP_AWAKE_TOKEN VALET_ORCHESTRATOR VALET_SERVER"
  ).split(" ")
)
const isOurs = (name: string) => ours.has(name)

const isVariable = (name: string) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)

const VariableName = Schema.String.check(Schema.makeFilter((name) => isVariable(name) && !isOurs(name)))

const Environment = Schema.Record(VariableName, Schema.String.check(noNul))

const IdleTimeout = Schema.Union([Schema.Int, Schema.String])
  .annotate({ message: 'must be whole seconds, 0 for never, or a duration such as "10m"' })
  .check(
    Schema.makeFilter((value) => {
      const ms = idleMs(value)
      if (ms === undefined || ms < 0) return 'must be whole seconds, 0 for never, or a duration such as "10m"'
      return ms > longestIdleMs ? "must be at most 365d" : undefined
    })
  )

export const isPath = (text: string): boolean => /^\/[\x21-\x7e]*$/.test(text)

const HealthPath = Schema.String.check(
  Schema.makeFilter((path) => (isPath(path) ? undefined : "must begin with / and hold no blanks, such as /health"))
)

const Cwd = Schema.String.check(noNul).check(
  Schema.makeFilter((path) => (path.startsWith("/") ? "must be relative to the project's folder" : undefined))
)

const hostName = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/

export const isHostName = (text: string): boolean => hostName.test(text.toLowerCase())

const Host = Schema.String.check(
  Schema.makeFilter((host) => (isHostName(host) ? undefined : "must be a host name without scheme, port and path"))
)

export const ProjectFile = Schema.Struct({
  command: Schema.optionalKey(Command),
  cwd: Schema.optionalKey(Cwd),
  env: Schema.optionalKey(Environment),
  idle_timeout: Schema.optionalKey(IdleTimeout),
  health_path: Schema.optionalKey(HealthPath),
  hosts: Schema.optionalKey(Schema.Array(Host)),
  max_memory_mb: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 1_048_576 })))
})
export type ProjectFile = typeof ProjectFile.Type

const decode = Schema.decodeUnknownResult(ProjectFile, { errors: "all", onExcessProperty: "error" })
const parseJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

const notKnown = "is not known"
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => (issue._tag === "UnexpectedKey" ? notKnown : SchemaIssue.defaultLeafHook(issue))
})

/** Of a field, whose path holds no blanks but in names that are refused. */
const inWords = (path: ReadonlyArray<string>, message: string): string => {
  const [field = "", name = ""] = path
  if (message !== notKnown) {
    const article = /^Expected [ao]/.test(message) && !/^Expected an? /.test(message) ? "an " : ""
    return message.replace(/^Expected (string|number)/, "must be a $1").replace(/^Expected /, `must be ${article}`)
  }
  if (field !== "env") return `is not known: there are ${Object.keys(ProjectFile.fields).join(", ")}`
  return isOurs(name) ? "is set by the orchestrator" : "is no name of a variable"
}

/** No shell takes a command apart; what it would have to be is shown. */
const asArray = (json: unknown): string | undefined => {
  if (typeof json !== "object" || json === null || !("command" in json) || typeof json.command !== "string") return
  return `must be an array: ${JSON.stringify(json.command.split(" ").filter((word) => word !== ""))}`
}

/** The file, or all of its problems in words, each beginning with its field. */
export const parse = (text: string): Result.Result<ProjectFile, ReadonlyArray<string>> => {
  const json = parseJson(text)
  if (Result.isFailure(json)) return Result.fail(["it is not JSON"])
  return Result.mapError(decode(json.success), ({ issue }) =>
    issuesOf(issue).issues.map(({ message, path = [] }) => {
      const keys = path.map((segment) => String(typeof segment === "object" ? segment.key : segment))
      const words = keys.join() === "command" ? asArray(json.success) : undefined
      return `${keys.length === 0 ? "it" : keys.join(".")} ${words ?? inWords(keys, message)}`
    })
  )
}
