/** The archive ledger's own transitions. See `domain/Archive`. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ArchiveRow } from "../../domain/Archive.ts"
import type { StoreError } from "./StoreError.ts"

export class Archives extends Context.Service<
  Archives,
  {
    current(projectUid: string): Effect.Effect<Option.Option<ArchiveRow>, StoreError>
    /** uploading rows whose operation is over → discarded. */
    discardAbandoned(limit: number): Effect.Effect<number, StoreError>
    /** Discarded rows whose URL expired `marginMs` ago and whose next attempt is due. */
    bin(input: {
      readonly marginMs: number
      readonly limit: number
    }): Effect.Effect<ReadonlyArray<ArchiveRow>, StoreError>
    noteFailure(r2Key: string, error: string, retryAfterMs: number): Effect.Effect<void, StoreError>
    /** discarded → gone. */
    markGone(r2Key: string): Effect.Effect<boolean, StoreError>
    /** Every row that is not gone. */
    living: Effect.Effect<ReadonlyArray<ArchiveRow>, StoreError>
  }
>()("valet/Archives") {}
