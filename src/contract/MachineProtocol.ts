/**
 * Control plane → project server, over the private network: bearer authentication, JSON, paths under `/internal`.
 *
 * Every call but `configure` carries the generation; the machine refuses one below the newest that it has seen with 409
 * and `newest_generation`, and an archive at or below its last unseal. 202 means "still at it": the same call polls.
 */
import * as Schema from "effect/Schema"

/** Bytes and bounds of the protocol, shared by both sides. */
export const limits = {
  /** A server answers 202 rather than hold a long call open for longer than this. */
  longCallMs: 1_000,
  maxBodyBytes: 64 * 1024
} as const

const Generation = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))
const Sha256 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
const Seconds = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** A DNS label. Names that are reserved are the plane's concern. */
const ProjectIdText = Schema.String.check(Schema.isPattern(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/))
/** It goes into headers: the name of a Fly app, and no other text. */
const AppName = Schema.String.check(Schema.isPattern(/^[a-z0-9-]{1,63}$/))

export const ConfigureRequest = Schema.Struct({
  project_id: ProjectIdText,
  project_uid: Schema.String,
  deploy_key: Schema.String,
  generation: Generation,
  idle_timeout_seconds: Schema.optionalKey(Seconds),
  /** The Fly app of the router, to which a server that is not this project's sends a request back. */
  router_app: Schema.optionalKey(AppName),
  restore: Schema.optionalKey(
    Schema.Struct({ r2_key: Schema.String, r2_checksum: Sha256, size: Schema.Int, download_url: Schema.String })
  )
})
export type ConfigureRequest = typeof ConfigureRequest.Type
export const ConfigureResponse = Schema.Struct({ ready: Schema.Boolean, restored_bytes: Schema.Int })
export type ConfigureResponse = typeof ConfigureResponse.Type

export const ArchiveRequest = Schema.Struct({
  project_uid: Schema.String,
  generation: Generation,
  r2_key: Schema.String,
  upload_url: Schema.String,
  headers: Schema.Record(Schema.String, Schema.String),
  /** Refuse with `busy` if anything was served within this many seconds. */
  idle_window_seconds: Seconds,
  force: Schema.optionalKey(Schema.Boolean)
})
export type ArchiveRequest = typeof ArchiveRequest.Type
export const ArchiveResponse = Schema.Struct({ r2_key: Schema.String, r2_checksum: Sha256, size: Schema.Int })
export type ArchiveResponse = typeof ArchiveResponse.Type

export const UnsealRequest = Schema.Struct({ project_uid: Schema.String, generation: Generation })
export type UnsealRequest = typeof UnsealRequest.Type

export const SettingsRequest = Schema.Struct({
  project_uid: Schema.String,
  generation: Generation,
  idle_timeout_seconds: Schema.NullOr(Seconds)
})
export type SettingsRequest = typeof SettingsRequest.Type

export const Health = Schema.Struct({
  status: Schema.String,
  project_id: Schema.NullOr(Schema.String),
  generation: Schema.Int,
  connections: Schema.Int,
  sealed: Schema.Boolean
})
export type Health = typeof Health.Type

/** 202: bytes moved so far; `phase` is for people. */
export const Progress = Schema.Struct({ progress: Schema.Struct({ phase: Schema.String, bytes: Schema.Int }) })
export type Progress = typeof Progress.Type

/** 409: an older generation, another project, or an archive at or below the last unseal. */
export const Stale = Schema.Struct({ error: Schema.Literal("stale"), newest_generation: Schema.Int })
/** 409: the server is in use; it is not sealed. */
export const Busy = Schema.Struct({
  error: Schema.Literal("busy"),
  connections: Schema.Int,
  idle_seconds: Schema.Int
})
/** 422: the object is missing or not what the ledger says, or the disk is full. Another machine would not help. */
export const RestoreFailed = Schema.Struct({ error: Schema.Literal("restore_failed"), detail: Schema.String })
/** 422: the database does not pass its integrity check, or could not be uploaded. Not sealed any more. */
export const ArchiveFailed = Schema.Struct({ error: Schema.Literal("archive_failed"), detail: Schema.String })

/** Set by Fly's proxy: what carries one of these did not come over the private network. */
export const proxyHeaders = ["fly-client-ip", "fly-replay-src"] as const
