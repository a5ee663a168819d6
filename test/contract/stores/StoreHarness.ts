/**
 * What the stores' contract needs of an implementation: a layer that gives all stores on empty tables, built anew for
 * each test, and a way to move their time.
 */
import { it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Archives } from "../../../src/services/db/Archives.ts"
import type { Machines } from "../../../src/services/db/Machines.ts"
import type { Plane } from "../../../src/services/db/Plane.ts"
import type { Projects } from "../../../src/services/db/Projects.ts"

/** The time that the stores compare with, which only moves forward. */
export class StoreTime extends Context.Service<
  StoreTime,
  {
    advance(ms: number): Effect.Effect<void>
    /** How much time may pass by itself during a test: 0 on a test clock. */
    readonly driftMs: number
  }
>()("test/StoreTime") {}

export type Stores = Projects | Machines | Archives | Plane | StoreTime

export interface StoreHarness {
  readonly name: string
  readonly layer: Layer.Layer<Stores, unknown>
  /** `live`: sockets and their timeouts need the real clock. */
  readonly clock: "test" | "live"
}

/** Registers tests that run on the harness's stores. */
export const testsOn =
  ({ clock, layer }: StoreHarness) =>
  (name: string, body: () => Effect.Effect<void, unknown, Stores | Scope.Scope>): void => {
    const test = clock === "test" ? it.effect : it.live
    test(name, () => Effect.provide(body(), layer))
  }

export const advance = (ms: number) => Effect.flatMap(StoreTime, (time) => time.advance(ms))

export const second = 1000
export const minute = 60 * second
export const hour = 60 * minute
export const day = 24 * hour
