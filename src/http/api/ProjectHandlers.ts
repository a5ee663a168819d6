/** What everybody may ask: create a project, look at one, see where it is served. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { Api } from "../../contract/Api.ts"
import * as Problems from "../../contract/Problems.ts"
import { clientAddress } from "../../domain/ClientAddress.ts"
import * as ProjectId from "../../domain/ProjectId.ts"
import { Lifecycle } from "../../programs/lifecycle/Lifecycle.ts"
import { unauthorized } from "./Authorize.ts"
import { bearerOf, operatorCheck } from "./Credentials.ts"
import { fromCreate } from "./Failures.ts"
import { lookup } from "./Lookup.ts"
import { iso, livingState, projectInfo, projectUrl } from "./Views.ts"

export const layerProjects = HttpApiBuilder.group(
  Api,
  "projects",
  Effect.fnUntraced(function* (handlers) {
    const config = yield* PlaneConfig
    const lifecycle = yield* Lifecycle
    const isOperator = operatorCheck(config)

    return handlers.handleAll({
      create: Effect.fn("Api.create")(function* ({ request, payload, headers }) {
        const bearer = bearerOf(request.headers["authorization"])
        const operator = bearer !== undefined && isOperator(bearer)
        const anonymous = bearer === undefined && config.create.public && payload?.project_id === undefined
        if (!operator && !anonymous) return yield* unauthorized()

        const chosen = payload?.project_id
        const projectId = chosen === undefined ? null : ProjectId.parse(chosen)
        if (projectId === undefined) return yield* new Problems.ReservedProjectId({ detail: "This id is reserved." })

        const peer = Option.getOrUndefined(request.remoteAddress)
        const created = yield* lifecycle
          .create({
            projectId,
            region: payload?.region ?? null,
            idleTimeoutSeconds: payload?.idle_timeout_seconds ?? null,
            client: operator
              ? null
              : clientAddress({ onFly: config.onFly, flyClientIp: request.headers["fly-client-ip"], peer }),
            idempotencyKey: headers["idempotency-key"] ?? null,
            deadlineMs: config.router.wakeTimeoutMs
          })
          .pipe(Effect.mapError(fromCreate))

        const { project, machine } = created.view
        const forwarded = config.onFly ? request.headers["x-forwarded-proto"] : undefined
        return HttpApiSchema.withHeaders({
          body: {
            project_id: project.projectId,
            state: livingState(project),
            region: project.region,
            machine_id: machine?.machineId ?? null,
            generation: project.generation,
            deploy_key: Redacted.value(created.deployKey),
            url: projectUrl({
              projectId: project.projectId,
              template: config.router.publicUrl,
              domain: config.router.domain,
              host: request.headers["host"],
              scheme: forwarded === "https" ? "https" : "http"
            }),
            created_at: iso(project.createdAt)
          },
          headers: { location: `/api/projects/${project.projectId}` }
        })
      }),
      get: Effect.fn("Api.get")(function* ({ params }) {
        return projectInfo((yield* lookup(params.id)).project)
      })
    })
  })
)

export const layerRoutes = HttpApiBuilder.group(Api, "routes", (handlers) =>
  handlers.handle(
    "get",
    Effect.fn("Api.route")(function* ({ params }) {
      const { project, machine } = yield* lookup(params.id)
      return {
        project_id: project.projectId,
        state: livingState(project),
        machine_id: machine?.machineId ?? null
      }
    })
  )
)
