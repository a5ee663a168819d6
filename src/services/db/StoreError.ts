import * as Schema from "effect/Schema"

/**
 * Why the database did not answer. After `UnknownOutcome` of a begin or commit the statement may have been committed:
 * read the row; if it is mine go on, else answer from the row.
 */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  operation: Schema.String,
  reason: Schema.Literals(["Unavailable", "UnknownOutcome", "Contention", "Broken"]),
  detail: Schema.String
}) {
  override get message() {
    return `database ${this.operation}: ${this.reason}: ${this.detail}`
  }
  get retryable(): boolean {
    return this.reason === "Unavailable" || this.reason === "Contention"
  }
}
