/** Object storage: what the plane needs of an S3-compatible bucket. One bucket per plane, keys from the archive ledger. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"

export class R2Error extends Schema.TaggedError<R2Error>()("R2Error", {
  operation: Schema.String,
  /** `Missing`: no such object. `Denied`: credentials or bucket. `Unavailable`: network, timeout, 5xx. */
  reason: Schema.Literals(["Missing", "Denied", "Unavailable"]),
  detail: Schema.String
}) {
  override get message() {
    return `R2 ${this.operation}: ${this.reason}: ${this.detail}`
  }
  get retryable(): boolean {
    return this.reason === "Unavailable"
  }
}

/** A URL that lets its bearer do one method on one key until `expiresAt`; a secret, so never logged. */
export interface PresignedUrl {
  readonly url: string
  /** To be sent exactly so; they are signed. */
  readonly headers: Readonly<Record<string, string>>
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export class R2 extends Context.Service<
  R2,
  {
    /** Refuses to overwrite where the store supports `If-None-Match: *`. */
    presignPut(key: string, expiresInSeconds: number): Effect.Effect<PresignedUrl, R2Error>
    presignGet(key: string, expiresInSeconds: number): Effect.Effect<PresignedUrl, R2Error>
    head(key: string): Effect.Effect<Option.Option<{ readonly size: number }>, R2Error>
    /**
     * Reads the whole object back, streaming; `Missing` where there is none. `onBytes` gets the bytes read so far, about
     * once a second or every few MiB, and a last time at the end.
     */
    checksum(
      key: string,
      onBytes?: (bytes: number) => Effect.Effect<void>
    ): Effect.Effect<{ readonly size: number; readonly sha256: string }, R2Error>
    /** Succeeds for an object that is already gone. */
    delete(key: string): Effect.Effect<void, R2Error>
    list(prefix: string): Effect.Effect<ReadonlyArray<{ readonly key: string; readonly size: number }>, R2Error>
  }
>()("valet/R2") {}
