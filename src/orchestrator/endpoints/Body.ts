/** JSON bodies of the orchestrator's own endpoints, read after everything else about the request was found right. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { ServerResponse } from "node:http"
import { Refused } from "./Refused.ts"

/** All that is sent here fits in a line. */
export const maxBodyBytes = 16 * 1024

export const tooLarge = new Refused({
  status: 413,
  code: "payload_too_large",
  detail: `A body has at most ${maxBodyBytes} bytes.`,
  // What is left of the body would otherwise have to be read before the next request.
  headers: { connection: "close" }
})

const notJson = new Refused({
  status: 415,
  code: "unsupported_media_type",
  detail: "Bodies are application/json."
})

const invalid = (detail: string) => new Refused({ status: 400, code: "invalid_request", detail: detail.slice(0, 500) })

/** The listener leaves it to us to say that a body which the client holds back is wanted. */
const wanted = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.sync(() => {
    const response = NodeHttpServerRequest.toServerResponse(request)
    if (request.headers["expect"] !== undefined && response instanceof ServerResponse) response.writeContinue()
  })

/** Fields that the schema does not know are refused: a misspelt one would otherwise do nothing, and say nothing. */
export const json = <A>(schema: Schema.Codec<A, unknown>) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema), { onExcessProperty: "error" })
  return Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    if (!/^application\/json *(?:;|$)/i.test(request.headers["content-type"] ?? "")) return yield* notJson
    yield* wanted(request)
    const text = yield* Effect.mapError(request.text, ({ reason }) =>
      reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge"
        ? tooLarge
        : invalid("The body could not be read.")
    )
    return yield* Effect.mapError(decode(text), (error) => invalid(error.message))
  })
}
