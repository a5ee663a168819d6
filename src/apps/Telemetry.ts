/** Logs, and what OTEL_* asks for. Provided last, so that every other layer is under it. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import { layerJsonLogs } from "./Logs.ts"

/** Nothing is sent while no endpoint is set. */
const layerOtlp = Otlp.layerFromConfig({ resource: { serviceName: "valet" }, loggerMergeWithExisting: true }).pipe(
  Layer.provide([NodeHttpClient.layerUndici, OtlpSerialization.layerJson])
)

export const layerTelemetry = Layer.merge(layerOtlp, layerJsonLogs)
