/** The machine protocol over HTTP. To anybody but the control plane on the private network it does not exist. */
import type { IncomingMessage } from "node:http"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Protocol from "../contract/MachineProtocol.ts"
import * as Answer from "./Answer.ts"
import * as Body from "./Body.ts"
import { Control } from "./Control.ts"
import { ProjectServerConfig } from "./ProjectServerConfig.ts"
import type { ProtocolFailure } from "./ProtocolFailure.ts"

const Json = <S extends Schema.Constraint>(schema: S) => Schema.fromJsonString(schema)
const decoders = {
  configure: Schema.decodeUnknownEffect(Json(Protocol.ConfigureRequest)),
  archive: Schema.decodeUnknownEffect(Json(Protocol.ArchiveRequest)),
  unseal: Schema.decodeUnknownEffect(Json(Protocol.UnsealRequest)),
  settings: Schema.decodeUnknownEffect(Json(Protocol.SettingsRequest))
}

const failure = (error: ProtocolFailure): Answer.Answer => {
  switch (error._tag) {
    case "Stale":
      return Answer.json(409, { error: "stale", newest_generation: error.newestGeneration })
    case "Busy":
      return Answer.json(409, { error: "busy", connections: error.connections, idle_seconds: error.idleSeconds })
    case "RestoreFailed":
      return Answer.json(422, { error: "restore_failed", detail: error.detail })
    case "ArchiveFailed":
      return Answer.json(422, { error: "archive_failed", detail: error.detail })
    case "InProgress":
      return Answer.json(202, { progress: { phase: error.phase, bytes: error.bytes } })
  }
}

const call = Effect.fnUntraced(
  function* (path: string, text: string) {
    const control = yield* Control
    switch (path) {
      case "/internal/configure":
        return Answer.json(200, yield* control.configure(yield* decoders.configure(text)))
      case "/internal/archive-to-r2":
        return Answer.json(200, yield* control.archive(yield* decoders.archive(text)))
      case "/internal/unseal":
        yield* control.unseal(yield* decoders.unseal(text))
        return Answer.json(200, {})
      case "/internal/settings":
        yield* control.settings(yield* decoders.settings(text))
        return Answer.json(200, {})
      default:
        return Answer.notFound
    }
  },
  Effect.catchTag("SchemaError", (error) => Effect.succeed(Answer.problem(400, "bad_request", error.message))),
  Effect.catchTag(["DiskError", "DatabaseError", "NotServed"], (error) =>
    Effect.as(Effect.logError(error.message), Answer.problem(500, "internal", error.message))
  ),
  Effect.catch((error) => Effect.succeed(failure(error)))
)

export const internal = Effect.fnUntraced(
  function* (path: string, request: IncomingMessage) {
    const { internalSecret } = yield* ProjectServerConfig
    if (internalSecret === null || Protocol.proxyHeaders.some((name) => request.headers[name] !== undefined)) {
      return Answer.notFound
    }
    if (!Body.hasBearer(request, internalSecret)) {
      return Answer.problem(401, "unauthorized", "another secret", { "www-authenticate": "Bearer" })
    }
    if (request.method !== "POST") return Answer.methodNotAllowed("POST")
    return yield* call(path, yield* Body.text(request, Protocol.limits.maxBodyBytes))
  },
  Effect.catchTag("BodyError", (error) =>
    Effect.succeed(
      error.reason === "TooLarge"
        ? Answer.problem(413, "too_large", error.message, { connection: "close" })
        : Answer.problem(400, "bad_request", error.message)
    )
  )
)
