/** `/api/projects…`: the operator's own say over projects and their servers. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import {
  ProjectChange,
  type ProjectList,
  type ProjectSettings,
  type ProjectView
} from "../../contract/OrchestratorApi.ts"
import type { ServerStatus } from "../../contract/OrchestratorStatus.ts"
import type { ProjectId } from "../../domain/ProjectId.ts"
import { type Answer, json } from "../../http/Answer.ts"
import { OrchestratorFolder } from "../OrchestratorFolder.ts"
import { ProjectFolders } from "../ProjectFolders.ts"
import { Supervisor } from "../Supervisor.ts"
import * as Access from "./Access.ts"
import * as Body from "./Body.ts"
import { type Endpoint, type Handler, project } from "./Endpoint.ts"
import * as LogTail from "./LogTail.ts"
import { noPlan, notRunning, Refused, unavailable } from "./Refused.ts"

const defaultLogLines = 200
const maxLogLines = 1_000
const maxLogBytes = 1024 * 1024

const done: Answer = { status: 204, headers: {}, body: "" }

const view = (id: ProjectId, server: ServerStatus | undefined): ProjectView => ({
  project_id: id,
  state: server?.state ?? "stopped",
  connections: server?.connections ?? 0,
  started_at: server?.started_at ?? null,
  stops_at: server?.stops_at ?? null,
  cold_start_ms: server?.cold_start_ms ?? null
})

const LogQuery = Schema.Struct({
  lines: Schema.optionalKey(
    Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: maxLogLines }))
  )
})

const logQuery = HttpServerRequest.schemaSearchParams(LogQuery).pipe(
  Effect.mapError(
    () => new Refused({ status: 400, code: "invalid_request", detail: `lines is a number from 1 to ${maxLogLines}.` })
  )
)

export const make = Effect.gen(function* () {
  const supervisor = yield* Supervisor
  const folders = yield* ProjectFolders
  const folder = yield* OrchestratorFolder
  const isOperator = Access.operator(folder.adminToken)
  const isReader = Access.reader(folder.adminToken)

  const list: Handler = Effect.gen(function* () {
    yield* isOperator
    const [ids, servers] = yield* Effect.all([folders.all, supervisor.status])
    const byId = new Map(servers.map((server) => [server.project_id, server]))
    const names = [...new Set([...ids, ...byId.keys()])].toSorted()
    const answer: ProjectList = { projects: names.map((id) => view(id, byId.get(id))) }
    return json(answer)
  })

  const change: Handler = Effect.gen(function* () {
    yield* isOperator
    const id = yield* project
    const { idle_timeout } = yield* Body.json(ProjectChange)
    yield* Effect.mapError(folders.setIdleTimeout(id, idle_timeout === null ? null : idle_timeout * 1000), noPlan)
    yield* supervisor.reload(id)
    const answer: ProjectSettings = { project_id: id, idle_timeout }
    return json(answer)
  })

  /** What it did, or 404 where nothing ran that it could be done to. */
  const toRunning = (act: (id: ProjectId) => Effect.Effect<boolean>): Handler =>
    Effect.gen(function* () {
      yield* isOperator
      const id = yield* project
      if (!(yield* act(id))) return yield* notRunning(id)
      return done
    })

  const wake: Handler = Effect.gen(function* () {
    yield* isOperator
    const id = yield* project
    return yield* Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.mapError(supervisor.use({ project: id, kind: "request", client: null }), unavailable)
        const servers = yield* supervisor.status
        return json(
          view(
            id,
            servers.find(({ project_id }) => project_id === id)
          )
        )
      })
    )
  })

  const logs: Handler = Effect.gen(function* () {
    yield* isReader
    const id = yield* project
    const { lines = defaultLogLines } = yield* logQuery
    const text = yield* LogTail.tail(folder.own("logs", `${id}.log`), lines, maxLogBytes).pipe(
      Effect.tapError((error) => Effect.logWarning(`${id}: ${error.message}`)),
      Effect.mapError(() => new Refused({ status: 503, code: "log_unreadable", detail: "The log can't be read now." }))
    )
    if (text === undefined) {
      return yield* new Refused({ status: 404, code: "no_log", detail: `${id} has written nothing yet.` })
    }
    return { status: 200, headers: { "content-type": "text/plain; charset=utf-8" }, body: text }
  })

  const endpoints: ReadonlyArray<Endpoint> = [
    { path: "/api/projects", methods: { GET: list } },
    { path: "/api/projects/:id", methods: { PATCH: change } },
    { path: "/api/projects/:id/logs", methods: { GET: logs } },
    { path: "/api/projects/:id/keep-alive", methods: { POST: toRunning(supervisor.ping) } },
    { path: "/api/projects/:id/wake", methods: { POST: wake } },
    { path: "/api/projects/:id/sleep", methods: { POST: toRunning(supervisor.stop) } },
    { path: "/api/projects/:id/restart", methods: { POST: toRunning(supervisor.restart) } }
  ]
  return endpoints
})
