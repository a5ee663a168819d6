import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Allow from "../../../src/orchestrator/folders/Allow.ts"

it.effect.each([
  { globs: null, id: "anything", allowed: true },
  { globs: "*", id: "anything", allowed: true },
  { globs: "blog", id: "blog", allowed: true },
  { globs: "blog", id: "blog2", allowed: false },
  { globs: "blog", id: "my-blog", allowed: false },
  { globs: "team-*", id: "team-", allowed: true },
  { globs: "team-*", id: "team-a", allowed: true },
  { globs: "team-*", id: "a-team-a", allowed: false },
  { globs: "*-prod", id: "a-prod", allowed: true },
  { globs: "*-prod", id: "a-prod-1", allowed: false },
  { globs: "a*b*c", id: "axxbyyc", allowed: true },
  { globs: "a*b*c", id: "axxc", allowed: false },
  { globs: "ab*b", id: "ab", allowed: false },
  { globs: "ab*ba", id: "aba", allowed: false },
  { globs: "a*bc*c", id: "abc", allowed: false },
  { globs: "a, b ,Team-*", id: "team-x", allowed: true },
  { globs: "a,b", id: "c", allowed: false }
])("$globs, $id: $allowed", ({ globs, id, allowed }) =>
  Effect.gen(function* () {
    assert.strictEqual((yield* Allow.compile(globs))(id), allowed)
  })
)

it.effect.each(["", "a,", "a b", "a/../b", "[a]", "a?", "x".repeat(201)])("%j is refused, by its pattern", (globs) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(Allow.compile(globs))
    assert.match(error.message, /^--allow: "/)
  })
)

it.effect("what matches badly costs no more than its length", () =>
  Effect.gen(function* () {
    const allows = yield* Allow.compile(`${"a*".repeat(99)}b`)
    assert.isFalse(allows("a".repeat(100_000)))
  })
)
