/** All of this process's environment that its children get: nothing of its secrets. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

const names = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"] as const

export const inherited: Effect.Effect<Readonly<Record<string, string>>> = Effect.gen(function* () {
  const environment: Record<string, string> = {}
  for (const name of names) {
    const value = yield* Effect.orDie(Config.option(Config.String(name)))
    if (Option.isSome(value)) environment[name] = value.value
  }
  return environment
})
