/**
 * One environment variable: its name, default and meaning for people, and how its text becomes a value. A problem says
 * what the text must be and never what it was: it may be a secret that went into the wrong variable.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { parseDuration, type DurationUnit } from "../domain/Duration.ts"

export interface Problem {
  readonly variable: string
  /** Continues a sentence that begins with the variable's name: `is not set`, `must be a port`. */
  readonly problem: string
}

/** What the table of variables tells of one. */
export interface Documented {
  readonly name: string
  /** Null: required, or off when unset; `meaning` says which. */
  readonly default: string | null
  readonly required: boolean
  readonly meaning: string
}

export interface Variable<A> extends Documented {
  readonly read: Effect.Effect<A, Problem>
}

/** The second channel completes the sentence "NAME must be …". */
export type Parse<A> = (text: string) => Result.Result<A, string>

/** An empty variable counts as unset, as it does in shells and in fly.toml. */
const load = (name: string): Effect.Effect<string | undefined, Problem> =>
  Effect.gen(function* () {
    const provider = yield* ConfigProvider.ConfigProvider
    const node = yield* provider.load([name])
    const text = node?.value?.trim()
    return text === "" ? undefined : text
  }).pipe(Effect.mapError(() => ({ variable: name, problem: "can't be read from its source" })))

const make = <A>(documented: Documented, parse: Parse<A>, unset: Effect.Effect<A, Problem>): Variable<A> => ({
  ...documented,
  read: Effect.flatMap(load(documented.name), (text) =>
    text === undefined
      ? unset
      : Effect.mapError(Effect.fromResult(parse(text)), (expected) => ({
          variable: documented.name,
          problem: `must be ${expected}`
        }))
  )
})

/** A kind of value, from which variables are made. */
export const kind = <A>(parse: Parse<A>) => ({
  required: (name: string, meaning: string): Variable<A> =>
    make(
      { name, default: null, required: true, meaning },
      parse,
      Effect.fail({ variable: name, problem: "is not set" })
    ),
  /** The default is text, so that the table shows exactly what is parsed. */
  withDefault: (name: string, text: string, meaning: string): Variable<A> =>
    make(
      { name, default: text, required: false, meaning },
      parse,
      Effect.mapError(Effect.fromResult(parse(text)), (expected) => ({
        variable: name,
        problem: `must be ${expected}`
      }))
    ),
  /** `shown`: what the table names as the default where another variable gives it. */
  optional: (name: string, meaning: string, shown: string | null = null): Variable<A | null> =>
    make<A | null>({ name, default: shown, required: false, meaning }, parse, Effect.succeed(null))
})

const filtered = <A>(expected: string, decode: (text: string) => A | undefined): Parse<A> => {
  const problem = Result.fail(expected)
  return (text) => {
    const value = decode(text)
    return value === undefined ? problem : Result.succeed(value)
  }
}

export const custom = <A>(expected: string, decode: (text: string) => A | undefined) => kind(filtered(expected, decode))

export const text = kind<string>((value) => Result.succeed(value))

export const pattern = (expected: string, expression: RegExp) =>
  custom(expected, (value) => (expression.test(value) ? value : undefined))

export const integer = (minimum: number, maximum: number) =>
  custom(`a whole number from ${minimum} to ${maximum}`, (value) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
    return number >= minimum && number <= maximum ? number : undefined
  })

export const port = integer(1, 65_535)

export const boolean = custom("true or false", (value) =>
  /^(true|yes|on|1)$/i.test(value) ? true : /^(false|no|off|0)$/i.test(value) ? false : undefined
)

export const oneOf = <const T extends ReadonlyArray<string>>(...literals: T) =>
  custom(`one of ${literals.join(", ")}`, (value): T[number] | undefined =>
    literals.find((literal) => literal === value)
  )

export const url = (protocols: ReadonlyArray<string>) => custom(`a URL (${protocols.join(" or ")})`, urlText(protocols))

/** The URL as it was written, without a slash at its end. */
const urlText =
  (protocols: ReadonlyArray<string>) =>
  (value: string): string | undefined =>
    URL.canParse(value) && protocols.includes(new URL(value).protocol.replace(/:$/, ""))
      ? value.replace(/\/+$/, "")
      : undefined

/** Holds a password, so it is redacted. */
export const databaseUrl = custom("a PostgreSQL URL (postgres://user:password@host:5432/database)", (value) =>
  URL.canParse(value) && /^postgres(ql)?:$/.test(new URL(value).protocol) ? Redacted.make(value) : undefined
)

/** 32 characters: 128 bits where they are hexadecimal. */
export const minSecretLength = 32

export const secret = custom(`at least ${minSecretLength} characters (\`openssl rand -hex 32\` makes one)`, (value) =>
  value.length >= minSecretLength ? Redacted.make(value) : undefined
)

/** Newest first: machines and deploy keys of several rotations ago are still opened by theirs. */
export const secrets = custom(`secrets of at least ${minSecretLength} characters, separated by commas`, (value) => {
  const all = value.split(",").map((one) => one.trim())
  return all.every((one) => one.length >= minSecretLength) ? all.map((one) => Redacted.make(one)) : undefined
})

/** Somebody else's secret: its length is theirs. */
export const credential = custom("a credential", (value) => Redacted.make(value))

const tenYearsMs = 10 * 365 * 86_400_000

/** Milliseconds; a bare number is in `unit`. */
export const duration = (unit: DurationUnit, minimumMs: number, maximumMs: number = tenYearsMs) =>
  custom(
    `a duration from ${minimumMs} ms to ${Math.round(maximumMs / 1000)} s, such as 90s, 5m, 1h or 7d (a bare number is in ${unit})`,
    (value) => {
      const ms = parseDuration(value, unit)
      return ms !== undefined && ms >= minimumMs && ms <= maximumMs ? ms : undefined
    }
  )
