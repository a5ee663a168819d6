/** What only the operator may ask. */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { Api, limits } from "../../contract/Api.ts"
import * as Problems from "../../contract/Problems.ts"
import { Lifecycle } from "../../programs/lifecycle/Lifecycle.ts"
import { Projects } from "../../services/db/Projects.ts"
import { fromRecover, fromStore, fromWake } from "./Failures.ts"
import { parseId } from "./Lookup.ts"
import { planeStatus } from "./PlaneStatus.ts"
import { livingState, projectInfo } from "./Views.ts"

/** `begin;dur=3.1, configure;dur=120` — https://www.w3.org/TR/server-timing/ */
const serverTiming = (timings: Readonly<Record<string, number>>): string =>
  Object.entries(timings)
    .map(([phase, ms]) => `${phase.replace(/[^\w-]/g, "_")};dur=${Math.round(ms * 10) / 10}`)
    .join(", ")

export const layerOperator = HttpApiBuilder.group(
  Api,
  "operator",
  Effect.fnUntraced(function* (handlers) {
    const config = yield* PlaneConfig
    const projects = yield* Projects
    const lifecycle = yield* Lifecycle
    const status = yield* planeStatus

    return handlers.handleAll({
      list: Effect.fn("Api.list")(function* ({ query }) {
        const page = yield* projects
          .list({ state: query.state ?? null, cursor: query.cursor ?? null, limit: query.limit ?? limits.defaultPage })
          .pipe(
            Effect.catchTag(
              "StoreError",
              (error): Effect.Effect<never, Problems.InvalidCursor | Problems.Unavailable> =>
                error.reason === "Broken" && query.cursor !== undefined
                  ? Effect.fail(new Problems.InvalidCursor({ detail: "Not a cursor of this list." }))
                  : fromStore(error)
            )
          )
        return {
          projects: page.projects.filter((project) => project.state !== "deleted").map(projectInfo),
          next_cursor: page.next
        }
      }),
      wake: Effect.fn("Api.wake")(function* ({ params, query }) {
        const projectId = yield* parseId(params.id)
        const { view, woken, timings } = yield* lifecycle
          .wake(projectId, { deadlineMs: config.router.wakeTimeoutMs, force: query.force === "true" })
          .pipe(Effect.mapError(fromWake))
        const machineId = view.machine?.machineId
        if (machineId === undefined || machineId === null) {
          return yield* Effect.die(new Error(`the wake of ${projectId} ended without a machine`))
        }
        return HttpApiSchema.withHeaders({
          body: {
            project_id: view.project.projectId,
            state: livingState(view.project),
            machine_id: machineId,
            woken,
            timings_ms: timings
          },
          headers: { "server-timing": serverTiming(timings) }
        })
      }),
      recover: Effect.fn("Api.recover")(function* ({ params, payload }) {
        const projectId = yield* parseId(params.id)
        const view = yield* lifecycle.recover(projectId, payload.from).pipe(Effect.mapError(fromRecover))
        return projectInfo(view.project)
      }),
      status: () => status.look
    })
  })
)
