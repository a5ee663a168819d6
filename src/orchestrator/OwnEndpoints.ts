/** What the orchestrator answers itself, beside its projects. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Caller } from "./Caller.ts"

export interface OwnRequest {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly caller: Caller
}

export class OwnEndpoints extends Context.Service<
  OwnEndpoints,
  {
    /** Answers whatever it is; never fails. */
    handle(request: OwnRequest): Effect.Effect<void>
  }
>()("valet/OwnEndpoints") {}
