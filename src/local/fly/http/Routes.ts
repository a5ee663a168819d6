/** The whole API as routes, and what surrounds it: who may call, an id on every answer, Fly's shape for what is not there. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Mac from "effect/crypto/Mac"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { adminRoutes } from "./AdminRoutes.ts"
import { appRoutes } from "./AppRoutes.ts"
import { json } from "./Endpoint.ts"
import { machineDetailRoutes } from "./MachineDetailRoutes.ts"
import { machineRoutes } from "./MachineRoutes.ts"
import { volumeRoutes } from "./VolumeRoutes.ts"

const bytes = new TextEncoder()

const bearerOf = (header: string | undefined): string =>
  /^(?:Bearer|FlyV1)\s+(.*)$/i.exec(header ?? "")?.[1]?.trim() ?? ""

const notFound = json({ error: "404 page not found" }, 404)
const unauthorized = json({ error: "unauthorized" }, 401)
const broken = json({ error: "internal: server error" }, 500)

const requestId = Effect.gen(function* () {
  const [now, chance] = [yield* Clock.currentTimeMillis, yield* Random.nextIntBetween(0, 0x7fffffff)]
  return `01${now.toString(32)}${chance.toString(32).padStart(7, "0")}-local`.toUpperCase()
})

type Answer<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/** Around every answer: Fly names each in a header, and its errors are JSON. */
const asFly = <E, R>(answer: Answer<E, R>, admits: (request: HttpServerRequest.HttpServerRequest) => boolean) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    admits(request) ? answer : Effect.succeed(unauthorized)
  ).pipe(
    Effect.catchIf(
      (error) => HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound",
      () => Effect.succeed(notFound)
    ),
    Effect.catchCauseIf(
      (cause) => !Cause.hasInterruptsOnly(cause),
      (cause) => Effect.as(Effect.logError("The local Fly failed", cause), broken)
    ),
    Effect.flatMap((response) =>
      Effect.map(requestId, (id) => HttpServerResponse.setHeader(response, "fly-request-id", id))
    )
  )

const api = HttpRouter.addAll([...appRoutes, ...machineRoutes, ...machineDetailRoutes, ...volumeRoutes])

/** For whoever knows the token. */
export const publicApi = (token: Redacted.Redacted) => {
  const expected = bytes.encode(Redacted.value(token))
  return Effect.map(HttpRouter.toHttpEffect(Layer.mergeAll(api, HttpRouter.addAll(adminRoutes))), (answer) =>
    asFly(answer, ({ headers }) => Mac.timingSafeEqual(expected, bytes.encode(bearerOf(headers["authorization"]))))
  )
}

const ofMachines = HttpRouter.addAll([...machineRoutes, ...machineDetailRoutes])

/** For the machines themselves, without a token: each may do what concerns itself and nothing else. */
export const ownApi = Effect.map(HttpRouter.toHttpEffect(ofMachines), (answer) => (app: string, machineId: string) => {
  const own = `/v1/apps/${app}/machines/${machineId}`
  return asFly(answer, ({ url }) => url === own || url.startsWith(`${own}/`) || url.startsWith(`${own}?`))
})
