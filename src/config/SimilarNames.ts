/**
 * Variables that begin like ours and are none: most likely misspelt, and otherwise silently without effect.
 */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { groups } from "./Variables.ts"

const prefixes = ["VALET", "ROUTER", "R2", "WARM_POOL", "DORMANCY", "CREATE", "CONTROL_PLANE"]

const known = groups.flatMap(({ variables }) => variables.map(({ name }) => name))

/** Levenshtein distance, one row at a time. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** Longer than any name of ours: what follows changes nothing about which one is nearest. */
const compared = 64

export const nearest = (name: string): string => {
  const start = name.slice(0, compared)
  const [first] = known.map((one) => ({ one, far: distance(start, one) })).toSorted((a, b) => a.far - b.far)
  return first?.one ?? ""
}

/** All names below a prefix: the provider knows an environment as a tree, split at underscores. */
const namesBelow = (
  provider: ConfigProvider.ConfigProvider,
  path: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>, ConfigProvider.SourceError> =>
  Effect.gen(function* () {
    const node = yield* provider.load(path)
    if (node === undefined) return []
    const own = node.value === undefined ? [] : [path.join("_")]
    const keys =
      node._tag === "Record" ? [...node.keys] : node._tag === "Array" ? Array.from({ length: node.length }, String) : []
    const below = yield* Effect.forEach(keys, (key) => namesBelow(provider, [...path, key]))
    return [...own, ...below.flat()]
  })

/** A sentence for each name; a source that can't list its names has none. */
export const similarNames: Effect.Effect<ReadonlyArray<string>> = Effect.gen(function* () {
  const provider = yield* ConfigProvider.ConfigProvider
  const names = yield* Effect.forEach(prefixes, (prefix) => namesBelow(provider, prefix.split("_")))
  return names
    .flat()
    .filter((name) => name.includes("_") && !known.includes(name))
    .map((name) => `${name} is not a variable of Valet; did you mean ${nearest(name)}?`)
}).pipe(Effect.orElseSucceed(() => []))
