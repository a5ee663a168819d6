/**
 * The plane's side of the machine protocol. A call polls while the machine answers 202, retries up to 5 times with
 * exponential backoff and jitter what is safe to say again (every call is), and ends at its limit.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Protocol from "../../contract/MachineProtocol.ts"
import type { MachineRow } from "../../domain/Machine.ts"

/** Nothing answered at the machine's name or address within the limit; a call may or may not have arrived. */
export class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", { detail: Schema.String }) {}
/** It has seen a newer generation, or serves another project. */
export class Stale extends Schema.TaggedError<Stale>()("Stale", {
  detail: Schema.String,
  newestGeneration: Schema.Int
}) {}
export class Busy extends Schema.TaggedError<Busy>()("Busy", {
  detail: Schema.String,
  connections: Schema.Int,
  idleSeconds: Schema.Int
}) {}
export class RestoreFailed extends Schema.TaggedError<RestoreFailed>()("RestoreFailed", { detail: Schema.String }) {}
export class ArchiveFailed extends Schema.TaggedError<ArchiveFailed>()("ArchiveFailed", { detail: Schema.String }) {}
/** It does not know our secret, or answers what the protocol does not have. */
export class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Int, detail: Schema.String }) {}

export class MachineError extends Schema.TaggedError<MachineError>()("MachineError", {
  call: Schema.String,
  machine: Schema.String,
  reason: Schema.Union([Unreachable, Stale, Busy, RestoreFailed, ArchiveFailed, Refused])
}) {
  override get message() {
    return `${this.call} on ${this.machine}: ${this.reason._tag}: ${this.reason.detail}`
  }
  get retryable(): boolean {
    return this.reason._tag === "Unreachable"
  }
}

/** Where a machine is and which secret it knows: a ledger row has all of it. */
export type Target = Pick<MachineRow, "name" | "machineId" | "privateIp" | "keyId">

export interface CallOptions {
  /** The whole call, retries and polls included. */
  readonly limitMs: number
  /** 1: no retry, for a pool machine that is rather replaced than waited for. Default 6 (5 retries). */
  readonly attempts?: number
  /** Run on every 202: bytes moved so far. The caller renews its lease with it. */
  readonly onProgress?: (bytes: number) => Effect.Effect<void>
}

export class MachineClient extends Context.Service<
  MachineClient,
  {
    configure(
      target: Target,
      body: Protocol.ConfigureRequest,
      options: CallOptions
    ): Effect.Effect<Protocol.ConfigureResponse, MachineError>
    archiveToR2(
      target: Target,
      body: Protocol.ArchiveRequest,
      options: CallOptions
    ): Effect.Effect<Protocol.ArchiveResponse, MachineError>
    unseal(target: Target, body: Protocol.UnsealRequest, options: CallOptions): Effect.Effect<void, MachineError>
    settings(target: Target, body: Protocol.SettingsRequest, options: CallOptions): Effect.Effect<void, MachineError>
    health(target: Target, options: CallOptions): Effect.Effect<Protocol.Health, MachineError>
  }
>()("valet/MachineClient") {}
