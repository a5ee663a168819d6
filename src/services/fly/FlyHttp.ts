/** `Fly` over the Machines API's HTTP. The client (undici on Node) comes from the application. */
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import type { Plane } from "../db/Plane.ts"
import { Fly } from "./Fly.ts"
import * as FlyBudget from "./FlyBudget.ts"
import * as FlyCall from "./FlyCall.ts"
import * as FlyMachines from "./FlyMachines.ts"
import * as FlyVolumes from "./FlyVolumes.ts"
import * as FlyWait from "./FlyWait.ts"

/** The budget is the caller's to choose: `FlyBudget.layer` or `FlyBudget.layerLocal`. */
export const layerNoDeps: Layer.Layer<Fly, never, PlaneConfig | HttpClient.HttpClient | FlyBudget.FlyBudget> =
  Layer.effect(
    Fly,
    Effect.gen(function* () {
      const { apiUrl, app, token } = (yield* PlaneConfig).fly
      const call = yield* FlyCall.make({ apiUrl, app, token })
      const machines = FlyMachines.make(call)
      return Fly.of({ ...FlyVolumes.make(call), ...machines, ...FlyWait.make(call, machines.getMachine) })
    })
  )

/** With the budget that the instances share through the database. */
export const layer: Layer.Layer<Fly, never, PlaneConfig | HttpClient.HttpClient | Plane> = layerNoDeps.pipe(
  Layer.provide(FlyBudget.layer)
)
