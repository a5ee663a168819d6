/** Logs as JSON lines on stderr, from LOG_LEVEL on; stdout stays free for what a command answers. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { ConfigProblems } from "../config/Environment.ts"

const logLevel = Config.LogLevel("LOG_LEVEL").pipe(
  Config.withDefault("Info"),
  Effect.mapError(
    () =>
      new ConfigProblems({
        problems: [{ variable: "LOG_LEVEL", problem: "must be one of Trace, Debug, Info, Warn, Error, Fatal, None" }]
      })
  )
)

export const layerJsonLogs: Layer.Layer<never, ConfigProblems> = Layer.mergeAll(
  Logger.layer([Logger.withConsoleError(Logger.formatJson)]),
  Layer.effect(References.MinimumLogLevel, logLevel)
)
