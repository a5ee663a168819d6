/** What the whole plane shares beside projects: who it is, Fly's request budget, and the periods of its loops. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreError } from "./StoreError.ts"

export interface PlaneIdentity {
  readonly planeId: string
  readonly flyApp: string
  readonly bucket: string | null
}

export class Plane extends Context.Service<
  Plane,
  {
    /**
     * Stores the identity at the first start (planeId proposed by the caller) and returns the one that holds. An app
     * or bucket that differs from the stored one is for the caller to refuse; a null bucket is filled in later once.
     */
    identify(proposed: PlaneIdentity): Effect.Effect<PlaneIdentity, StoreError>
    /**
     * Books one turn of a bucket (`action:identifier` of a request to Fly, `loop:name` of a pass) by GCRA and returns how
     * long to wait for it, or
     * null where the wait would exceed `maxWaitMs`: nothing is booked then. `reserve` requests of the burst are left
     * untouched: a background caller leaves room for wakes.
     */
    book(input: {
      readonly bucket: string
      readonly intervalMs: number
      readonly burst: number
      readonly reserve: number
      readonly maxWaitMs: number
    }): Effect.Effect<number | null, StoreError>
    /** Reachable and migrated to what this build needs. */
    ready: Effect.Effect<boolean, StoreError>
  }
>()("valet/Plane") {}
