/** `--allow`: which project ids are served. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

export class BadPattern extends Schema.TaggedError<BadPattern>()("BadPattern", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const limits = { patterns: 100, length: 200 }

/** Linear in the text: each `*` takes as little as lets the rest follow. */
const matches = (parts: ReadonlyArray<string>, text: string): boolean => {
  const [first = "", ...rest] = parts
  const last = rest.pop()
  if (last === undefined) return text === first
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  const end = text.length - last.length
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return at <= end
}

/** Globs between commas, with `*` for any characters; null allows all. */
export const compile = (globs: string | null): Effect.Effect<(id: string) => boolean, BadPattern> =>
  Effect.gen(function* () {
    if (globs === null) return () => true
    const patterns = globs.split(",").map((glob) => glob.trim().toLowerCase())
    if (patterns.length > limits.patterns) {
      return yield* new BadPattern({ detail: `--allow: more than ${limits.patterns} patterns` })
    }
    for (const pattern of patterns) {
      if (!/^[a-z0-9*-]+$/.test(pattern) || pattern.length > limits.length) {
        return yield* new BadPattern({
          detail: `--allow: ${JSON.stringify(pattern)} is no pattern of project ids: a-z, 0-9, hyphens and * for any characters, several between commas`
        })
      }
    }
    const compiled = patterns.map((pattern) => pattern.split("*"))
    return (id: string) => compiled.some((parts) => matches(parts, id))
  })
