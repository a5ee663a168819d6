/**
 * Which plane this is. App, bucket and plane id are stored in the database at the first start; a plane that finds
 * others refuses to start, because its ledger would then describe machines and objects that are not there.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { PlaneConfig } from "../config/PlaneConfig.ts"
import { Plane } from "../services/db/Plane.ts"
import * as Ids from "./Ids.ts"

export class WrongPlane extends Schema.TaggedError<WrongPlane>()("WrongPlane", {
  variable: Schema.String,
  stored: Schema.String,
  configured: Schema.String
}) {
  override get message() {
    return (
      `this database belongs to a plane with ${this.variable}=${this.stored}, but ${this.configured} is configured: ` +
      `set ${this.variable} back, or use another database`
    )
  }
}

export class Identity extends Context.Service<Identity, { readonly planeId: string; readonly machinePrefix: string }>()(
  "valet/Identity"
) {
  static readonly layer = Layer.effect(
    Identity,
    Effect.gen(function* () {
      const config = yield* PlaneConfig
      const plane = yield* Plane
      const proposed = { planeId: yield* Ids.planeId, flyApp: config.fly.app, bucket: config.r2?.bucket ?? null }
      const stored = yield* plane.identify(proposed)
      if (stored.flyApp !== proposed.flyApp) {
        return yield* new WrongPlane({
          variable: "VALET_FLY_APP",
          stored: stored.flyApp,
          configured: proposed.flyApp
        })
      }
      if (stored.bucket !== null && proposed.bucket !== null && stored.bucket !== proposed.bucket) {
        return yield* new WrongPlane({
          variable: "R2_BUCKET",
          stored: stored.bucket,
          configured: proposed.bucket
        })
      }
      return { planeId: stored.planeId, machinePrefix: Ids.machinePrefix(stored.planeId) }
    })
  )
}
