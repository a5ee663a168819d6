/** Texts that programs get wrong, among ordinary ones. */
import * as fc from "fast-check"
import { injected } from "../Oracle.ts"

const known = [
  "",
  " ",
  ".",
  "..",
  "../../etc/passwd",
  "..\\..",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "\0",
  "a\0b",
  `a\r\n${injected}: 1`,
  `\n${injected}: 1\n\n`,
  `%0d%0a${injected}:%201`,
  "%00",
  "%2e%2e%2f",
  "%ff",
  "%zz",
  "%",
  "\ud800",
  "a\udc00",
  "💥",
  "é",
  "ﬀ",
  "İ",
  "\u202e",
  "\ufeff",
  "null",
  "undefined",
  "NaN",
  "-1",
  "0",
  "1e999",
  "9007199254740993",
  "0x10",
  "'; DROP TABLE projects; --",
  "$(id)",
  "${7*7}",
  "<script>alert(1)</script>",
  "\"'`\\",
  "*",
  "a,b;c=d",
  "x".repeat(64),
  "x".repeat(600),
  "x".repeat(9_000)
]

/** Any UTF-16 unit, surrogates without their other half included; small ones more often. */
const anyText = fc
  .array(fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0xffff)), { maxLength: 30 })
  .map((units) => String.fromCharCode(...units))

export const hostile: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...known) },
  { weight: 1, arbitrary: fc.string({ maxLength: 30 }) },
  { weight: 1, arbitrary: anyText },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(...known), fc.constantFrom(...known)).map((pair) => pair.join("")) }
)

/** One change to a text, small to nothing when it shrinks. */
export interface Edit {
  readonly at: number
  readonly remove: number
  readonly insert: string
}

export const edits = (inserts: fc.Arbitrary<string>): fc.Arbitrary<ReadonlyArray<Edit>> =>
  fc.array(fc.record({ at: fc.nat(60), remove: fc.nat(3), insert: inserts }), { maxLength: 3 })

export const edited = (text: string, changes: ReadonlyArray<Edit>): string =>
  changes.reduce((now, { at, insert, remove }) => {
    const place = now.length === 0 ? 0 : at % (now.length + 1)
    return now.slice(0, place) + insert + now.slice(place + remove)
  }, text)
