/**
 * The control plane's HTTP API: what the server implements, the typed client calls and the OpenAPI document tells.
 *
 * JSON in snake_case; times are RFC 3339 in UTC. Unknown fields in a body are refused, so that a misspelt setting is not
 * taken for one that was accepted. An id that can't be a project's is an unknown project (404) where it is looked up,
 * and invalid (400) where it is chosen.
 */
import * as Schema from "effect/Schema"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { operations, projectStates } from "../domain/Project.ts"
import { Common, OperatorOnly, OwnerOrOperator } from "./Authorization.ts"
import * as Problems from "./Problems.ts"
import { Status } from "./Status.ts"

export const limits = {
  maxBodyBytes: 64 * 1024,
  maxIdempotencyKeyLength: 255,
  maxPage: 200,
  defaultPage: 50
} as const

const Time = Schema.String.annotate({ description: "RFC 3339, UTC", format: "date-time" })
/** A month, ten years: longer is a mistake, or `pinned`. */
const IdleSeconds = Schema.Int.check(Schema.isBetween({ minimum: 5, maximum: 31 * 86_400 }))
const DormancySeconds = Schema.Int.check(Schema.isBetween({ minimum: 60, maximum: 3_650 * 86_400 }))
const ProjectIdText = Schema.String.annotate({ description: "A DNS label", examples: ["calm-otter-7k2m9qx"] })
const State = Schema.Literals(projectStates.filter((state) => state !== "deleted"))

export const ProjectInfo = Schema.Struct({
  project_id: ProjectIdText,
  state: State,
  operation: Schema.Literals(operations),
  region: Schema.String,
  generation: Schema.Int,
  created_at: Time,
  last_active_at: Time
}).annotate({ identifier: "Project" })
export type ProjectInfo = typeof ProjectInfo.Type

export const CreateRequest = Schema.Struct({
  project_id: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)).annotate({
      description: "A DNS label of your choice; with the operator's bearer only. Never used twice."
    })
  ),
  region: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[a-z]{3}$/))),
  idle_timeout_seconds: Schema.optionalKey(IdleSeconds)
}).annotate({ identifier: "CreateProject" })

export const CreatedProject = Schema.Struct({
  project_id: ProjectIdText,
  state: State,
  region: Schema.String,
  machine_id: Schema.NullOr(Schema.String),
  generation: Schema.Int,
  deploy_key: Schema.String.annotate({ description: "The project's own bearer. Shown here only." }),
  url: Schema.String,
  created_at: Time
}).annotate({ identifier: "CreatedProject" })
export type CreatedProject = typeof CreatedProject.Type

export const RouteInfo = Schema.Struct({
  project_id: ProjectIdText,
  state: State,
  machine_id: Schema.NullOr(Schema.String)
}).annotate({ identifier: "Route" })

export const WakeResponse = Schema.Struct({
  project_id: ProjectIdText,
  state: State,
  machine_id: Schema.String,
  woken: Schema.Boolean.annotate({ description: "False where it was running already." }),
  timings_ms: Schema.Record(Schema.String, Schema.Finite)
}).annotate({ identifier: "Wake" })

export const SettingsPatch = Schema.Struct({
  idle_timeout_seconds: Schema.optionalKey(Schema.NullOr(IdleSeconds)),
  dormancy_threshold_seconds: Schema.optionalKey(Schema.NullOr(DormancySeconds)),
  pinned: Schema.optionalKey(Schema.Boolean)
})
  .check(Schema.makeFilter((patch) => Object.keys(patch).length > 0 || "at least one setting"))
  .annotate({ identifier: "SettingsPatch", description: "Null: the plane's default." })

export const ProjectSettings = Schema.Struct({
  project_id: ProjectIdText,
  state: State,
  idle_timeout_seconds: Schema.NullOr(Schema.Int),
  dormancy_threshold_seconds: Schema.NullOr(Schema.Int),
  pinned: Schema.Boolean
}).annotate({ identifier: "ProjectSettings" })

export const EventInfo = Schema.Struct({
  at: Time,
  kind: Schema.String,
  generation: Schema.Int,
  detail: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean, Schema.Null]))
}).annotate({ identifier: "Event" })

const Page = {
  cursor: Schema.optionalKey(
    Schema.String.check(Schema.isMaxLength(512)).annotate({ description: "`next_cursor` of the page before." })
  ),
  limit: Schema.optionalKey(
    Schema.NumberFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: limits.maxPage }))
  )
}
const NextCursor = Schema.NullOr(Schema.String).annotate({ description: "Null: this was the last page." })
const params = { id: ProjectIdText }
const describe = (summary: string, description?: string) =>
  OpenApi.annotations(description === undefined ? { summary } : { summary, description })

/** What OpenAPI can say and the endpoint's own schemas can't. */
const creation = OpenApi.annotations({
  transform: (operation: Record<string, unknown>) => ({
    ...operation,
    requestBody: {
      required: false,
      content: { "application/json": { schema: { $ref: "#/components/schemas/CreateProject" } } }
    },
    security: [{}, { operator: [] }]
  })
})
/** Query parameters are text on the wire; what they mean is a number. */
const paged = OpenApi.annotations({
  transform: (operation: Record<string, unknown>) => ({
    ...operation,
    parameters: (Array.isArray(operation["parameters"]) ? operation["parameters"] : []).map(
      (parameter: { readonly name?: unknown }) =>
        parameter.name === "limit"
          ? {
              ...parameter,
              schema: { type: "integer", minimum: 1, maximum: limits.maxPage, default: limits.defaultPage }
            }
          : parameter
    )
  })
})

export class Projects extends HttpApiGroup.make("projects")
  .add(
    HttpApiEndpoint.post("create", "/", {
      headers: {
        "idempotency-key": Schema.optionalKey(
          Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(limits.maxIdempotencyKeyLength)).annotate({
            description: "The same key from the same client within 24 hours gets the same project and deploy key."
          })
        )
      },
      payload: [CreateRequest, Schema.Null],
      success: HttpApiSchema.WithHeaders(CreatedProject.pipe(HttpApiSchema.status(201)), { location: Schema.String }),
      error: [
        Problems.ReservedProjectId,
        Problems.BadRegion,
        Problems.Unauthorized,
        Problems.ProjectExists,
        Problems.RateLimitedWithHeader,
        Problems.UnavailableWithHeader
      ]
    })
      .annotateMerge(
        describe(
          "Create a project",
          "Public unless the plane says otherwise; limited by client address, except with the operator's bearer. The body is optional."
        )
      )
      .annotateMerge(creation),
    HttpApiEndpoint.get("get", "/:id", {
      params,
      success: ProjectInfo,
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Look at a project"))
  )
  .prefix("/api/projects")
  .annotateMerge(OpenApi.annotations({ title: "Projects", description: "Open to everybody." })) {}

export class Routes extends HttpApiGroup.make("routes")
  .add(
    HttpApiEndpoint.get("get", "/:id", {
      params,
      success: RouteInfo,
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Where a project is served", "Wakes nothing."))
  )
  .prefix("/api/route")
  .annotateMerge(OpenApi.annotations({ title: "Routes" })) {}

export class Owner extends HttpApiGroup.make("owner")
  .add(
    HttpApiEndpoint.post("activity", "/:id/activity", {
      params,
      success: HttpApiSchema.NoContent,
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Note that a project is in use")),
    HttpApiEndpoint.delete("delete", "/:id", {
      params,
      success: HttpApiSchema.NoContent,
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Delete a project and its data for good")),
    HttpApiEndpoint.post("sleep", "/:id/sleep", {
      params,
      payload: Schema.Struct({ to: Schema.Literals(["suspended", "dormant"]) }),
      success: ProjectInfo,
      error: [Problems.ProjectNotFound, Problems.BusyWithHeader, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Suspend or archive a project now")),
    HttpApiEndpoint.patch("settings", "/:id", {
      params,
      payload: SettingsPatch,
      success: ProjectSettings,
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(
      describe("Change settings", "Reaches a started machine at once, a sleeping one at its next start.")
    ),
    HttpApiEndpoint.get("events", "/:id/events", {
      params,
      query: Page,
      success: Schema.Struct({ events: Schema.Array(EventInfo), next_cursor: NextCursor }),
      error: [Problems.ProjectNotFound, Problems.InvalidCursor, Problems.UnavailableWithHeader]
    })
      .annotateMerge(describe("What happened to a project", "Newest first."))
      .annotateMerge(paged)
  )
  .middleware(OwnerOrOperator)
  .prefix("/api/projects")
  .annotateMerge(
    OpenApi.annotations({ title: "Owner", description: "With the operator's bearer or the project's deploy key." })
  ) {}

export class Operator extends HttpApiGroup.make("operator")
  .add(
    HttpApiEndpoint.get("list", "/projects", {
      query: { state: Schema.optionalKey(State), ...Page },
      success: Schema.Struct({ projects: Schema.Array(ProjectInfo), next_cursor: NextCursor }),
      error: [Problems.InvalidCursor, Problems.UnavailableWithHeader]
    })
      .annotateMerge(describe("List projects", "Newest first."))
      .annotateMerge(paged),
    HttpApiEndpoint.post("wake", "/projects/:id/wake", {
      params,
      query: {
        force: Schema.optionalKey(
          Schema.Literals(["true", "false"]).annotate({ description: "Do not wait out earlier failures." })
        )
      },
      success: HttpApiSchema.WithHeaders(WakeResponse, { "server-timing": Schema.String }),
      error: [Problems.ProjectNotFound, Problems.UnavailableWithHeader]
    }).annotateMerge(describe("Wake a project")),
    HttpApiEndpoint.post("recover", "/projects/:id/recover", {
      params,
      payload: Schema.Struct({ from: Schema.Literals(["archive", "snapshot", "empty"]) }),
      success: ProjectInfo,
      error: [Problems.ProjectNotFound, Problems.NotUnavailable, Problems.UnavailableWithHeader]
    }).annotateMerge(
      describe(
        "Decide what a project with lost data is served from",
        "Only after machine and volume are confirmed gone; what was written since the archive or snapshot is lost."
      )
    ),
    HttpApiEndpoint.get("status", "/status", { success: Status, error: Problems.UnavailableWithHeader }).annotateMerge(
      describe("State of the plane", "Pool, projects by state, running operations, background loops, deletions.")
    )
  )
  .middleware(OperatorOnly)
  .prefix("/api")
  .annotateMerge(OpenApi.annotations({ title: "Operator", description: "With the operator's bearer." })) {}

export class Api extends HttpApi.make("valet")
  .add(Projects, Routes, Owner, Operator)
  .middleware(Common)
  .annotate(HttpApi.PayloadParseOptions, { errors: "all", onExcessProperty: "error" })
  .annotate(HttpApi.QueryParseOptions, { errors: "all" })
  .annotateMerge(
    OpenApi.annotations({
      title: "Valet control plane",
      version: "1",
      description: "Errors are application/problem+json with a stable `code`.",
      license: { name: "MIT" }
    })
  ) {}
