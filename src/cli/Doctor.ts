/** `valet doctor`: is everything there that the control plane needs, and what to do where it is not. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import type { Finding } from "./doctor/Check.ts"
import { json } from "./Flags.ts"
import { print } from "./Output.ts"

export class Unwell extends Schema.TaggedError<Unwell>()("Unwell", { failed: Schema.Array(Schema.String) }) {
  override get message() {
    return `not in order: ${this.failed.join(", ")}`
  }
}

const marks = { ok: "ok     ", warning: "warning", failed: "FAILED ", skipped: "skipped" } as const

const text = (findings: ReadonlyArray<Finding>): string =>
  findings
    .map(({ check, outcome, detail, advice }) =>
      [`${marks[outcome]}  ${check}: ${detail}`, ...(advice === null ? [] : [`           ${advice}`])].join("\n")
    )
    .join("\n")

const modules = Effect.promise(() =>
  Promise.all([import("../config/Environment.ts"), import("../config/VariableTable.ts"), import("./doctor/Checks.ts")])
)

export const doctorCommand = Command.make(
  "doctor",
  {
    variables: Flag.Boolean("variables").pipe(
      Flag.withDescription("Print the table of all variables and do nothing else"),
      Flag.withDefault(false)
    ),
    json
  },
  Effect.fnUntraced(function* ({ variables, json }) {
    const [{ fromEnvironment }, { renderVariableTable }, { checks }] = yield* modules
    if (variables) return yield* Console.log(renderVariableTable())
    const findings = yield* checks(yield* fromEnvironment)
    yield* print(json, { findings }, () => text(findings))
    const failed = findings.filter(({ outcome }) => outcome === "failed").map(({ check }) => check)
    if (failed.length > 0) return yield* new Unwell({ failed })
  })
).pipe(
  Command.withDescription(
    "Check configuration, database, Fly token and app, machines, R2 and clocks, and say what to do"
  )
)
