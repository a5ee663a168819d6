/**
 * The typed client of the control plane's API: `client.projects.get({ params: { id } })`, with the contract's own
 * answers and errors. It needs an HttpClient (`FetchHttpClient.layer`, or Node's).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { Api } from "../contract/Api.ts"
import { OperatorOnly, OwnerOrOperator } from "../contract/Authorization.ts"

export interface ClientOptions {
  /** `https://valet.example` */
  readonly baseUrl: string
  /** The operator's bearer or a project's deploy key; without one only the public endpoints answer. */
  readonly token?: Redacted.Redacted
}

/** The token goes with every request, also to endpoints that ask for none: for an operator they lift their limits. */
const layerTransparent = Layer.mergeAll(
  HttpApiMiddleware.layerClient(OperatorOnly, ({ next, request }) => next(request)),
  HttpApiMiddleware.layerClient(OwnerOrOperator, ({ next, request }) => next(request))
)

export const make = ({ baseUrl, token }: ClientOptions) =>
  HttpApiClient.make(Api, {
    baseUrl,
    transformClient: (client) =>
      token === undefined ? client : HttpClient.mapRequest(client, HttpClientRequest.bearerToken(token))
  }).pipe(Effect.provide(layerTransparent))
