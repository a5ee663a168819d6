/** Where a server tells that it is busy: known once the orchestrator listens, which is after most of it was built. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export class KeepAwakeUrl extends Context.Service<
  KeepAwakeUrl,
  {
    /** Waits until it is set; whoever waits sets the limit. */
    readonly url: Effect.Effect<string>
    /** Once; a later call changes nothing. */
    set(url: string): Effect.Effect<void>
  }
>()("valet/KeepAwakeUrl") {
  static readonly layer = Layer.effect(
    KeepAwakeUrl,
    Effect.map(Deferred.make<string>(), (known) =>
      KeepAwakeUrl.of({
        url: Deferred.await(known),
        set: (url) => Effect.asVoid(Deferred.succeed(known, url))
      })
    )
  )
}
