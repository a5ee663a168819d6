/** Whether changes of other instances reach this one: while they don't, whoever caches rows must not trust them for long. */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

export class ChangeFeed extends Context.Service<
  ChangeFeed,
  {
    /** False from the moment at which the listener's session is known to be lost until it listens again. */
    readonly listening: () => boolean
  }
>()("valet/ChangeFeed") {
  /** For stores that never lose their subscribers. */
  static readonly layerAlways = Layer.succeed(ChangeFeed, { listening: () => true })
}
