/** How many servers stand started without a project; none where nothing keeps any. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export const WarmCount = Context.Reference<Effect.Effect<number>>("valet/WarmCount", {
  defaultValue: () => Effect.succeed(0)
})
