/** Flags that several commands share. */
import * as Config from "effect/Config"
import * as Option from "effect/Option"
import * as Flag from "effect/cli/Flag"
import { parseDuration, type DurationUnit } from "../domain/Duration.ts"

/** Milliseconds: `90s`, `5m`, `1h`; a bare number is in `unit`. */
export const duration = (name: string, unit: DurationUnit = "s"): Flag.Flag<number> =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(parseDuration(text, unit)),
      () => `expected a duration such as 90s, 5m, 1h or 7d (a bare number is in ${unit})`
    )
  )

export const json = Flag.Boolean("json").pipe(Flag.withDescription("Print JSON, one document"), Flag.withDefault(false))

/** Where the control plane is and who asks. */
export const connection = {
  url: Flag.String("url").pipe(
    Flag.withDescription("Control plane (VALET_URL)"),
    Flag.withFallbackConfig(Config.String("VALET_URL")),
    Flag.withDefault("http://127.0.0.1:7000")
  ),
  token: Flag.Redacted("token").pipe(
    Flag.withDescription("The operator's bearer (CONTROL_PLANE_SECRET) or a project's deploy key"),
    Flag.withFallbackConfig(Config.Redacted("CONTROL_PLANE_SECRET")),
    Flag.optional
  ),
  json
}
