import * as Schema from "effect/Schema"

export class LaunchError extends Schema.TaggedError<LaunchError>()("LaunchError", { detail: Schema.String }) {
  override get message() {
    return `the server can't be started: ${this.detail}`
  }
}
