/** Sees each statement as it is sent: tests count round trips by it. Read once, when the database's layer is built. */
import * as Context from "effect/Context"

export const StatementObserver = Context.Reference<(sql: string, params: ReadonlyArray<unknown>) => void>(
  "valet/StatementObserver",
  {
    defaultValue: () => () => {}
  }
)
