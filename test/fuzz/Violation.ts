/** What an input broke. */
import * as Schema from "effect/Schema"

export class Violation extends Schema.TaggedError<Violation>()("Violation", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

/** Long enough to see what it was, short enough for a line. */
export const excerpt = (text: string): string => JSON.stringify(text.length > 600 ? `${text.slice(0, 600)}…` : text)
