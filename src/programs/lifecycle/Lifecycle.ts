/**
 * What can be asked of a project: create, wake, heal, sleep, delete, change, recover. Handlers and the router depend on
 * this interface alone.
 *
 * `deadlineMs` is how long this caller waits, in milliseconds from now. Operations live in the instance's scope, not in
 * their callers': one that outlasts a caller's deadline goes on, and the next caller joins it.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Settings } from "../../domain/Project.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import type { ProjectView } from "../../services/db/Projects.ts"

/** Unknown id, tombstone, or a project that is being deleted. */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { detail: Schema.String }) {}
/** The database or a service that the operation cannot do without did not answer. */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  retryAfterMs: Schema.Int,
  detail: Schema.String
}) {}
/** The caller's time is over; what it waited for goes on. */
export class Deadline extends Schema.TaggedError<Deadline>()("Deadline", { detail: Schema.String }) {}
/** No machine could be had: host, region, quota, or the plane's own limit. */
export class Capacity extends Schema.TaggedError<Capacity>()("Capacity", {
  retryAfterMs: Schema.Int,
  detail: Schema.String
}) {}
/** The last attempts failed; the next one begins after `retryAfterMs`. */
export class Backoff extends Schema.TaggedError<Backoff>()("Backoff", {
  retryAfterMs: Schema.Int,
  detail: Schema.String
}) {}
/** Machine and volume are confirmed gone while they held the newest data: an operator has to say what is served next. */
export class DataUnavailable extends Schema.TaggedError<DataUnavailable>()("DataUnavailable", {
  detail: Schema.String
}) {}
/** The project's server is in use, or another operation runs. */
export class Busy extends Schema.TaggedError<Busy>()("Busy", { retryAfterMs: Schema.Int, detail: Schema.String }) {}
/** `recover` is only for a project whose data is unavailable. */
export class NotUnavailable extends Schema.TaggedError<NotUnavailable>()("NotUnavailable", { detail: Schema.String }) {}
/** The client has created as many projects as a window allows. */
export class RateLimited extends Schema.TaggedError<RateLimited>()("RateLimited", {
  retryAfterMs: Schema.Int,
  detail: Schema.String
}) {}
/** The id was used before, by a living project or a tombstone. */
export class Exists extends Schema.TaggedError<Exists>()("Exists", { detail: Schema.String }) {}
/** Not among the allowed regions. */
export class BadRegion extends Schema.TaggedError<BadRegion>()("BadRegion", { detail: Schema.String }) {}

const retryableTags: ReadonlySet<string> = new Set([
  "Unavailable",
  "Deadline",
  "Capacity",
  "Backoff",
  "Busy",
  "RateLimited"
])
const describe = (verb: string, reason: { readonly _tag: string; readonly detail: string }) =>
  `${verb}: ${reason._tag}: ${reason.detail}`

export class CreateError extends Schema.TaggedError<CreateError>()("CreateError", {
  reason: Schema.Union([RateLimited, Exists, BadRegion, Unavailable])
}) {
  override get message() {
    return describe("create", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export class WakeError extends Schema.TaggedError<WakeError>()("WakeError", {
  reason: Schema.Union([NotFound, Deadline, Capacity, Backoff, DataUnavailable, Unavailable])
}) {
  override get message() {
    return describe("wake", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export class DeleteError extends Schema.TaggedError<DeleteError>()("DeleteError", {
  reason: Schema.Union([NotFound, Unavailable])
}) {
  override get message() {
    return describe("delete", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export class SleepError extends Schema.TaggedError<SleepError>()("SleepError", {
  reason: Schema.Union([NotFound, Busy, Unavailable])
}) {
  override get message() {
    return describe("sleep", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export class SettingsError extends Schema.TaggedError<SettingsError>()("SettingsError", {
  reason: Schema.Union([NotFound, Unavailable])
}) {
  override get message() {
    return describe("settings", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export class RecoverError extends Schema.TaggedError<RecoverError>()("RecoverError", {
  reason: Schema.Union([NotFound, NotUnavailable, Unavailable])
}) {
  override get message() {
    return describe("recover", this.reason)
  }
  get retryable(): boolean {
    return retryableTags.has(this.reason._tag)
  }
}

export interface CreateInput {
  /** Null: a generated one. */
  readonly projectId: ProjectId | null
  /** Null: the plane's default region. */
  readonly region: string | null
  readonly idleTimeoutSeconds: number | null
  /** Whose windows this create counts against; null: not limited. */
  readonly client: string | null
  /** A second create with the same key from the same client within 24 h gets the first one's project and deploy key. */
  readonly idempotencyKey: string | null
  readonly deadlineMs: number
}

export interface CreateResult {
  /** Active with its machine, or dormant where none could be had within the deadline: its first request wakes it. */
  readonly view: ProjectView
  readonly deployKey: Redacted.Redacted
  /** An earlier create with the same idempotency key made it. */
  readonly repeated: boolean
}

export interface WakeResult {
  /** Active; `machine` and its `machineId` are set. */
  readonly view: ProjectView
  /** False where it was running already. */
  readonly woken: boolean
  readonly source: "pool" | "cold" | "running"
  /** Milliseconds by phase (begin, configure, restore, commit, …): names are tokens, as Server-Timing wants them. */
  readonly timings: Readonly<Record<string, number>>
}

export class Lifecycle extends Context.Service<
  Lifecycle,
  {
    create(input: CreateInput): Effect.Effect<CreateResult, CreateError>
    /**
     * Waits for the shared wake of this project. It also heals: aborts an archive before its upload, waits for a commit,
     * unseals lazily, rehosts a lost machine. `force` passes by the backoff of failed attempts.
     */
    wake(
      projectId: ProjectId,
      options: { readonly deadlineMs: number; readonly force?: boolean }
    ): Effect.Effect<WakeResult, WakeError>
    /**
     * For requests that came back, because the machine was not this project's or sealed (`stale`), or because Fly could
     * not reach it (`replay_failed`): passes by every cache, waits for operations, unseals lazily, looks at the machine.
     */
    heal(
      projectId: ProjectId,
      hint: "stale" | "replay_failed",
      options: { readonly deadlineMs: number }
    ): Effect.Effect<WakeResult, WakeError>
    /** Succeeds once the tombstone is written; machines and objects go later. */
    delete(projectId: ProjectId, options: { readonly deadlineMs: number }): Effect.Effect<void, DeleteError>
    sleep(projectId: ProjectId, to: "suspended" | "dormant"): Effect.Effect<ProjectView, SleepError>
    /** Reaches a started machine at once, a sleeping one at its next start. */
    updateSettings(projectId: ProjectId, patch: Partial<Settings>): Effect.Effect<ProjectView, SettingsError>
    recover(projectId: ProjectId, from: "archive" | "snapshot" | "empty"): Effect.Effect<ProjectView, RecoverError>
  }
>()("valet/Lifecycle") {}
