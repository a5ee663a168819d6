/** Who may call what. The typed client sends its token through the same middleware. */
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import { InternalError, InvalidRequest, PayloadTooLarge, Unauthorized, UnavailableWithHeader } from "./Problems.ts"

/** `Authorization: Bearer <CONTROL_PLANE_SECRET>`, or its predecessor while rotating. */
export class OperatorOnly extends HttpApiMiddleware.Service<OperatorOnly>()("valet/api/OperatorOnly", {
  requiredForClient: true,
  security: { operator: HttpApiSecurity.bearer },
  error: Unauthorized
}) {}

/** The operator's bearer, or the deploy key of the project in the path. */
export class OwnerOrOperator extends HttpApiMiddleware.Service<OwnerOrOperator>()("valet/api/OwnerOrOperator", {
  requiredForClient: true,
  security: { owner: HttpApiSecurity.bearer },
  error: [Unauthorized, UnavailableWithHeader]
}) {}

/** What every endpoint may answer with, whatever it does. */
export class Common extends HttpApiMiddleware.Service<Common>()("valet/api/Common", {
  error: [InvalidRequest, PayloadTooLarge, InternalError]
}) {}
