import * as Schema from "effect/Schema"

export class EmbeddedPostgresError extends Schema.TaggedError<EmbeddedPostgresError>()("EmbeddedPostgresError", {
  reason: Schema.Literals(["NotInstalled", "InUse", "InitFailed", "StartFailed"]),
  detail: Schema.String
}) {
  override get message() {
    return `embedded PostgreSQL: ${this.detail}`
  }
}
