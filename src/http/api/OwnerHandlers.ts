/** What a project's owner may do with it. */
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { PlaneConfig } from "../../config/PlaneConfig.ts"
import { Api, limits } from "../../contract/Api.ts"
import * as Problems from "../../contract/Problems.ts"
import { Lifecycle } from "../../programs/lifecycle/Lifecycle.ts"
import { Projects } from "../../services/db/Projects.ts"
import { fromOwner, fromSleep, fromStore } from "./Failures.ts"
import { lookup, parseId } from "./Lookup.ts"
import { iso, livingState, projectInfo } from "./Views.ts"

const eventCursor = (id: number): string => Base64Url.encode(`e${id}`)
const decodeEventCursor = (cursor: string): number | undefined => {
  const text = Result.getOrUndefined(Base64Url.decodeString(cursor))
  const id = /^e(\d{1,15})$/.exec(text ?? "")?.[1]
  return id === undefined ? undefined : Number(id)
}

export const layerOwner = HttpApiBuilder.group(
  Api,
  "owner",
  Effect.fnUntraced(function* (handlers) {
    const config = yield* PlaneConfig
    const projects = yield* Projects
    const lifecycle = yield* Lifecycle

    return handlers.handleAll({
      activity: Effect.fn("Api.activity")(function* ({ params }) {
        const { project } = yield* lookup(params.id)
        yield* projects.touch([project.projectId]).pipe(Effect.catchTag("StoreError", fromStore))
      }),
      delete: Effect.fn("Api.delete")(function* ({ params }) {
        const projectId = yield* parseId(params.id)
        yield* lifecycle.delete(projectId, { deadlineMs: config.router.wakeTimeoutMs }).pipe(Effect.mapError(fromOwner))
      }),
      sleep: Effect.fn("Api.sleep")(function* ({ params, payload }) {
        const projectId = yield* parseId(params.id)
        const view = yield* lifecycle.sleep(projectId, payload.to).pipe(Effect.mapError(fromSleep))
        return projectInfo(view.project)
      }),
      settings: Effect.fn("Api.settings")(function* ({ params, payload }) {
        const projectId = yield* parseId(params.id)
        const { project } = yield* lifecycle
          .updateSettings(projectId, {
            ...(payload.idle_timeout_seconds === undefined ? {} : { idleTimeoutSeconds: payload.idle_timeout_seconds }),
            ...(payload.dormancy_threshold_seconds === undefined
              ? {}
              : { dormancyThresholdSeconds: payload.dormancy_threshold_seconds }),
            ...(payload.pinned === undefined ? {} : { pinned: payload.pinned })
          })
          .pipe(Effect.mapError(fromOwner))
        return {
          project_id: project.projectId,
          state: livingState(project),
          idle_timeout_seconds: project.settings.idleTimeoutSeconds,
          dormancy_threshold_seconds: project.settings.dormancyThresholdSeconds,
          pinned: project.settings.pinned
        }
      }),
      events: Effect.fn("Api.events")(function* ({ params, query }) {
        const { project } = yield* lookup(params.id)
        const before = query.cursor === undefined ? null : decodeEventCursor(query.cursor)
        if (before === undefined) return yield* new Problems.InvalidCursor({ detail: "Not a cursor of this list." })
        const limit = query.limit ?? limits.defaultPage
        // One more than asked for tells whether there is a next page.
        const events = yield* projects
          .events({ projectId: project.projectId, limit: limit + 1, before })
          .pipe(Effect.catchTag("StoreError", fromStore))
        const page = events.slice(0, limit)
        const last = page.at(-1)
        return {
          events: page.map((event) => ({
            at: iso(event.at),
            kind: event.kind,
            generation: event.generation,
            detail: event.detail
          })),
          next_cursor: events.length > limit && last !== undefined ? eventCursor(last.id) : null
        }
      })
    })
  })
)
