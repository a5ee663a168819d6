/** Logs as JSON lines on stderr, and what OTEL_* asks for. Provided last, so that every other layer is under it. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
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

/** Stdout stays free for what a command answers. */
export const layerJsonLogs: Layer.Layer<never, ConfigProblems> = Layer.mergeAll(
  Logger.layer([Logger.consoleJson]),
  Layer.succeed(References.LogToStderr, true),
  Layer.effect(References.MinimumLogLevel, logLevel)
)

/** Nothing is sent while no endpoint is set. */
const layerOtlp = Otlp.layerFromConfig({ resource: { serviceName: "valet" }, loggerMergeWithExisting: true }).pipe(
  Layer.provide([NodeHttpClient.layerUndici, OtlpSerialization.layerJson])
)

export const layerTelemetry = Layer.merge(layerOtlp, layerJsonLogs)
