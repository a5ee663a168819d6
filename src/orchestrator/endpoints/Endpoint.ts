/** A path that the orchestrator answers itself: its methods, and what has to be so before any of them runs. */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as ProjectId from "../../domain/ProjectId.ts"
import { type Answer, toResponse } from "../../http/Answer.ts"
import * as Access from "./Access.ts"
import { maxBodyBytes, tooLarge } from "./Body.ts"
import { projectNotFound, Refused } from "./Refused.ts"

export type Handler = Effect.Effect<Answer, Refused, HttpRouter.Provided>

export interface Endpoint {
  readonly path: HttpRouter.PathInput
  /** Runs first, before the method is looked at: what it refuses could as well not be there. */
  readonly gate?: Effect.Effect<void, Refused, HttpRouter.Provided>
  readonly methods: Readonly<Partial<Record<"GET" | "POST" | "PATCH", Handler>>>
}

const isMethod = (method: string): method is keyof Endpoint["methods"] => /^(?:GET|POST|PATCH)$/.test(method)

const run = ({ gate, methods }: Endpoint) =>
  Effect.gen(function* () {
    if (gate !== undefined) yield* gate
    const request = yield* HttpServerRequest.HttpServerRequest
    const method = request.method === "HEAD" ? "GET" : request.method
    const handler = isMethod(method) ? methods[method] : undefined
    if (handler === undefined) {
      const allow = Object.keys(methods)
        .flatMap((name) => (name === "GET" ? ["GET", "HEAD"] : [name]))
        .join(", ")
      return yield* new Refused({
        status: 405,
        code: "method_not_allowed",
        detail: `Allowed here: ${allow}.`,
        headers: { allow }
      })
    }
    if (Number(request.headers["content-length"] ?? 0) > maxBodyBytes) return yield* tooLarge
    if (method !== "GET") yield* Access.ownOrigin
    return yield* handler
  })

/** One route for all methods, so that a wrong one is told from a wrong path. */
export const route = (endpoint: Endpoint) =>
  HttpRouter.route(
    "*",
    endpoint.path,
    run(endpoint).pipe(
      Effect.catchTag("Refused", ({ answer }) => Effect.succeed(answer)),
      Effect.map(toResponse)
    )
  )

/** `:id` of the path. */
export const project = Effect.flatMap(HttpRouter.params, ({ id }) => {
  const parsed = ProjectId.parse(id ?? "")
  return parsed === undefined ? Effect.fail(projectNotFound) : Effect.succeed(parsed)
})
