/** How a call of the machine protocol can end other than with its result; each has one status and body in the contract. */
import * as Schema from "effect/Schema"

export class Stale extends Schema.TaggedError<Stale>()("Stale", { newestGeneration: Schema.Int }) {
  override get message() {
    return `stale: newest generation is ${this.newestGeneration}`
  }
}
export class Busy extends Schema.TaggedError<Busy>()("Busy", { connections: Schema.Int, idleSeconds: Schema.Int }) {
  override get message() {
    return `busy: ${this.connections} connections, idle for ${this.idleSeconds} s`
  }
}
export class RestoreFailed extends Schema.TaggedError<RestoreFailed>()("RestoreFailed", { detail: Schema.String }) {
  override get message() {
    return `restore failed: ${this.detail}`
  }
}
export class ArchiveFailed extends Schema.TaggedError<ArchiveFailed>()("ArchiveFailed", { detail: Schema.String }) {
  override get message() {
    return `archive failed: ${this.detail}`
  }
}
/** Not an end: the same call polls. */
export class InProgress extends Schema.TaggedError<InProgress>()("InProgress", {
  phase: Schema.String,
  bytes: Schema.Int
}) {
  override get message() {
    return `${this.phase}: ${this.bytes} bytes`
  }
}

export type ProtocolFailure = Stale | Busy | RestoreFailed | ArchiveFailed | InProgress
