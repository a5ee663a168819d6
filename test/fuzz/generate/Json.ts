/** JSON as text, because what matters can't all be said as a value: double keys, `__proto__`, depth, huge numbers. */
import * as fc from "fast-check"
import { edited, edits, hostile } from "./Text.ts"

const depths = fc.constantFrom(3, 100, 2_000, 15_000)

const nested = fc
  .tuple(depths, fc.constantFrom(["[", "]"], ['{"a":', "}"], ['[{"__proto__":', "}]"]))
  .map(([depth, [open = "", close = ""]]) => `${open.repeat(depth)}1${close.repeat(depth)}`)

const scalars = fc.constantFrom(
  "null",
  "true",
  "false",
  "0",
  "-0",
  "-1",
  "1",
  "0.5",
  "300",
  "2147483648",
  "9007199254740991",
  "9007199254740993",
  "1e308",
  "1e999",
  "-1e999",
  "1e-400",
  "12345678901234567890123456789",
  '""',
  '"\\ud800"',
  '"\\u0000"',
  '"\\u000d\\u000ax-injected: 1"',
  "[]",
  "{}",
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '[["a"]]'
)

const text = (value: string): string => JSON.stringify(value)

export const anyJson: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: scalars },
  { weight: 4, arbitrary: hostile.map(text) },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: nested }
)

const strange = fc.constantFrom("__proto__", "constructor", "toString", "then", "toJSON", "length", "", "ID", "\0")

export const literal = (...values: ReadonlyArray<unknown>): fc.Arbitrary<string> =>
  fc.constantFrom(...values.map((value) => JSON.stringify(value)))

/** `required` are there unless a mutation takes them away. */
export interface Fields {
  readonly required?: Readonly<Record<string, fc.Arbitrary<string>>>
  readonly optional?: Readonly<Record<string, fc.Arbitrary<string>>>
}

/** Mostly what it should be, now and then something else. */
const mostly = (value: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof({ weight: 7, arbitrary: value }, { weight: 1, arbitrary: anyJson })

type Member = readonly [key: string, value: string]

const absent = fc.constant<ReadonlyArray<Member>>([])

const member = (name: string, value: fc.Arbitrary<string>, presence: number): fc.Arbitrary<ReadonlyArray<Member>> =>
  fc.oneof(
    { weight: 20 - presence, arbitrary: absent },
    { weight: presence, arbitrary: mostly(value).map((json): ReadonlyArray<Member> => [[name, json]]) }
  )

export const object = ({ optional = {}, required = {} }: Fields): fc.Arbitrary<string> => {
  const names = [...Object.keys(required), ...Object.keys(optional)]
  const key = fc.oneof(fc.constantFrom("x", ...names), strange, hostile)
  const extras = fc.oneof(
    { weight: 5, arbitrary: absent },
    { weight: 1, arbitrary: fc.array(fc.tuple(key, anyJson), { minLength: 1, maxLength: 2 }) }
  )
  const members = [
    ...Object.entries(required).map(([name, value]) => member(name, value, 19)),
    ...Object.entries(optional).map(([name, value]) => member(name, value, 8)),
    extras
  ]
  return fc.tuple(...members).map((groups) => {
    const all = groups.flat().map(([name, json]) => `${text(name)}:${json}`)
    return `{${all.join(",")}}`
  })
}

/** Now and then no JSON at all, or too much of it. */
export const broken = (json: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 12, arbitrary: json },
    { weight: 1, arbitrary: fc.tuple(json, edits(hostile)).map(([good, changes]) => edited(good, changes)) },
    { weight: 1, arbitrary: anyJson },
    { weight: 1, arbitrary: hostile },
    { weight: 1, arbitrary: fc.tuple(json, fc.constantFrom(70_000, 20_000)).map(([good, n]) => good + " ".repeat(n)) }
  )
