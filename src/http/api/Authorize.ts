/** The server's side of the API's middlewares: who is let in, and how a request that does not decode is answered. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as SchemaIssue from "effect/SchemaIssue"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { Common, OperatorOnly, OwnerOrOperator } from "../../contract/Authorization.ts"
import * as Problems from "../../contract/Problems.ts"
import * as ProjectId from "../../domain/ProjectId.ts"
import { Projects } from "../../services/db/Projects.ts"
import { Keys } from "../../services/Keys.ts"
import { operatorCheck, sameSecret } from "./Credentials.ts"
import { fromStore } from "./Failures.ts"

export const unauthorized = () => new Problems.Unauthorized({ detail: "A valid bearer token is needed." })

export const layerOperatorOnly = Layer.effect(
  OperatorOnly,
  Effect.map(PlaneConfig, (config) => {
    const isOperator = operatorCheck(config)
    return {
      operator: (handler, { credential }) => (isOperator(credential) ? handler : Effect.fail(unauthorized()))
    }
  })
)

export const layerOwnerOrOperator = Layer.effect(
  OwnerOrOperator,
  Effect.gen(function* () {
    const isOperator = operatorCheck(yield* PlaneConfig)
    const projects = yield* Projects
    const keys = yield* Keys

    const isOwner = Effect.fnUntraced(function* (id: string | undefined, credential: Redacted.Redacted) {
      const projectId = id === undefined ? undefined : ProjectId.parse(id)
      if (projectId === undefined || !Redacted.value(credential).startsWith("dk_")) return false
      const found = yield* projects.find(projectId).pipe(Effect.catchTag("StoreError", fromStore))
      if (Option.isNone(found)) return false
      const { uid, deployKey } = found.value.project
      return yield* keys.open(uid, deployKey).pipe(
        Effect.map((key) => sameSecret(credential, key)),
        Effect.catchTag("KeyError", (error) => Effect.as(Effect.logError(`deploy key of ${projectId}`, error), false))
      )
    })

    return {
      owner: Effect.fnUntraced(function* (handler, { credential }) {
        if (isOperator(credential)) return yield* handler
        const { params } = yield* HttpRouter.RouteContext
        return (yield* isOwner(params["id"], credential)) ? yield* handler : yield* unauthorized()
      })
    }
  })
)

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** A request that does not decode names its fields; an answer that does not encode is a defect of ours. */
export const layerCommon = HttpApiMiddleware.layerSchemaErrorTransform(Common, (error) => {
  if (error.kind === "Body" || error.kind === "ResponseHeaders") return Effect.die(error)
  return Effect.fail(
    new Problems.InvalidRequest({
      detail: "The request is not valid.",
      errors: formatIssues(error.cause.issue).issues.map((issue) => ({
        path: [
          error.kind.toLowerCase(),
          ...(issue.path ?? []).map((segment) => String(typeof segment === "object" ? segment.key : segment))
        ],
        message: issue.message
      }))
    })
  )
})
