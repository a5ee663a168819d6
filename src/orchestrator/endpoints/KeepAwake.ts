/** `POST /internal/keep-awake`: a server says that it is busy, with the token that it was started with. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { KeepAwake, type KeptAwake } from "../../contract/OrchestratorApi.ts"
import { json } from "../../http/Answer.ts"
import { bearerOf } from "../../http/api/Credentials.ts"
import { Supervisor } from "../Supervisor.ts"
import * as Access from "./Access.ts"
import * as Body from "./Body.ts"
import type { Endpoint, Handler } from "./Endpoint.ts"

export const make = Effect.gen(function* () {
  const supervisor = yield* Supervisor

  const keepAwake: Handler = Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const bearer = Redacted.value(bearerOf(headers["authorization"]) ?? Redacted.make(""))
    if (bearer === "") return yield* Access.unauthorized
    const { seconds, reason = "" } = yield* Body.json(KeepAwake)
    yield* Effect.mapError(supervisor.keepAwake(bearer, seconds, reason), () => Access.unauthorized)
    const until = (yield* Clock.currentTimeMillis) + seconds * 1000
    const answer: KeptAwake = { awake_until: DateTime.formatIso(DateTime.makeUnsafe(until)) }
    return json(answer)
  })
  const endpoint: Endpoint = {
    path: "/internal/keep-awake",
    gate: Access.sameMachine,
    methods: { POST: keepAwake }
  }
  return endpoint
})
